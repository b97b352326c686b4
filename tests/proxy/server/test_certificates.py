"""Each host has its own certificate, and one is renewed without a restart, if the new one can be used."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.certificates import Certificates, make_certificates
from tests.support.streams import wait_until

Renewable = tuple[Certificates, Certificates]  # the one in use, and the next


@pytest.fixture
def pair(tmp_path) -> Renewable:
    for name in ("first", "next"):
        (tmp_path / name).mkdir()
    return make_certificates(tmp_path / "first"), make_certificates(tmp_path / "next")


@pytest.fixture(params=[(), ("--http2",)], ids=["http1", "http2"])
def gateway(request, start_gateway, pair):
    current = pair[0]
    tls = ("--tls-cert", str(current.cert_file), "--tls-key", str(current.key_file))
    gateway = start_gateway(args=(*tls, *request.param), tls=True)
    assert wait_until(lambda: is_served_with(gateway, current), 10)
    return gateway


def is_served_with(gateway, certificates: Certificates) -> bool:
    """Whether a client that trusts only these gets an answer on a new connection."""
    try:
        with gateway.connect(tls=certificates.client_context()) as client:
            return client.send(raw.request(target="/health")).response().text == "healthy"
    except OSError:  # ssl.SSLCertVerificationError, or a worker of Granian's that ends
        return False


def renew(gateway, current: Certificates, cert: Path) -> None:
    shutil.copy(cert, current.cert_file)
    gateway.process.send_signal(signal.SIGHUP)


def test_hup_serves_new_connections_with_the_new_certificate(gateway, pair):
    current, following = pair
    shutil.copy(following.key_file, current.key_file)
    renew(gateway, current, following.cert_file)
    assert wait_until(lambda: is_served_with(gateway, following), 10)
    assert wait_until(lambda: not is_served_with(gateway, current), 10)


def test_hup_keeps_the_certificate_in_use_when_the_new_one_does_not_fit_its_key(gateway, pair):
    current, following = pair
    renew(gateway, current, following.cert_file)
    assert wait_until(lambda: "keeping the certificate in use" in gateway.output)
    assert is_served_with(gateway, current)
    assert not wait_until(lambda: not is_served_with(gateway, current), 4)


# --- of several hosts -------------------------------------------------------------------------------------------
@pytest.fixture
def several(tmp_path, start_gateway):
    """By name, and served by two workers."""
    made = {}
    for name, names, ec_key in (
        ("public", ("localhost",), True),
        ("wiki", ("wiki.example.com", "WIKI.example.net"), False),
        ("any", ("*.example.com",), True),
    ):
        (tmp_path / name).mkdir()
        made[name] = make_certificates(tmp_path / name, *names, loopback=False, ec_key=ec_key)
    pairs = [("--tls-cert", str(one.cert_file), "--tls-key", str(one.key_file)) for one in made.values()]
    gateway = start_gateway(args=tuple(part for pair in pairs for part in pair), tls=True, workers=2)
    assert wait_until(lambda: sent_to(gateway, "localhost"), 10)
    return gateway, made


def sent_to(gateway, name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """The certificate that a client gets who asks for this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(gateway.address, 5) as plain, context.wrap_socket(plain, server_hostname=name) as tls:
        tls.sendall(raw.request(target="/health"))
        assert b"200" in tls.recv(100)
        certificate = tls.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


def certificate_of(made: Certificates) -> bytes:
    return ssl.PEM_cert_to_DER_cert(made.cert_file.read_text())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_each_host_gets_the_certificate_that_names_it(several, version):
    gateway, made = several
    expected = {
        "localhost": "public", "wiki.example.com": "wiki", "Wiki.Example.Com": "wiki", "wiki.example.net": "wiki",
        "git.example.com": "any", "a.b.example.com": "public", "example.com": "public", "evil.test": "public",
        None: "public",
    }  # fmt: skip
    for name, which in expected.items():
        assert sent_to(gateway, name, version) == certificate_of(made[which]), name


def test_files_that_change_are_read_without_a_signal(several, tmp_path):
    gateway, made = several
    workers = gateway.worker_pids()
    (tmp_path / "next").mkdir()
    following = make_certificates(tmp_path / "next", "wiki.example.com", loopback=False)
    before = sent_to(gateway, "wiki.example.com")
    shutil.copy(following.cert_file, made["wiki"].cert_file)  # its key comes a moment later
    assert sent_to(gateway, "wiki.example.com") == before
    shutil.copy(following.key_file, made["wiki"].key_file)
    expected = certificate_of(following)
    assert wait_until(lambda: all(sent_to(gateway, "wiki.example.com") == expected for _ in range(12)), 15)
    assert sent_to(gateway, "localhost") == certificate_of(made["public"])
    assert gateway.worker_pids() == workers
    assert wait_until(lambda: gateway.output.count("certificates were read again") == 2)


def test_one_that_cannot_be_used_keeps_no_other_from_being_renewed(several, tmp_path):
    """A host that is gone, whose certificate nobody renews, would let all others expire."""
    gateway, made = several
    before = sent_to(gateway, "wiki.example.com")
    (tmp_path / "over").mkdir()
    (tmp_path / "next").mkdir()
    over = make_certificates(tmp_path / "over", "wiki.example.com", loopback=False, days=-1)
    following = make_certificates(tmp_path / "next", "localhost", loopback=False)
    for old, new in ((made["wiki"], over), (made["public"], following)):
        shutil.copy(new.cert_file, old.cert_file)
        shutil.copy(new.key_file, old.key_file)
    expected = certificate_of(following)
    assert wait_until(lambda: all(sent_to(gateway, "localhost") == expected for _ in range(12)), 15)
    assert sent_to(gateway, "wiki.example.com") == before
    assert f"keeping the certificate in use: --tls-cert {made['wiki'].cert_file}: expired on" in gateway.output
    gateway.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: gateway.output.count("keeping the certificate in use") == 3, 10)
    assert sent_to(gateway, "localhost") == expected


def test_files_that_change_for_the_worse_are_said_once_and_change_nothing(several):
    gateway, made = several
    before = sent_to(gateway, "wiki.example.com")
    made["wiki"].key_file.write_text("nonsense")
    said = f"keeping the certificate in use: --tls-cert {made['wiki'].cert_file}"
    assert wait_until(lambda: gateway.output.count(said) == 2, 15)
    assert not wait_until(lambda: gateway.output.count(said) > 2, 5)
    assert sent_to(gateway, "wiki.example.com") == before
