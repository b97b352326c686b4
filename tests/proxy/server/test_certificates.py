"""A certificate is renewed without a restart: HUP takes the new one, and only one that can be used."""

from __future__ import annotations

import shutil
import signal
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
