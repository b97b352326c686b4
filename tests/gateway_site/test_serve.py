"""`manage.py serve`: what an operator types, mistypes, and gets."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway_site.management.commands import serve
from proxy.server.listen import StartRefused
from proxy.server.tls import tls_files
from tests.support import raw
from tests.support.certificates import Certificates, make_certificates
from tests.support.gateway import Gateway, environment, free_port, manage


@pytest.fixture(scope="module")
def env(gateway_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    data_dir = tmp_path_factory.mktemp("serve") / "data"
    shutil.copytree(gateway_template, data_dir)
    return environment(data_dir, AUTHGATE_PUBLIC_URL="https://gateway.example.com")


class Secure(NamedTuple):
    gateway: Gateway
    plain_port: int


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["http1", "http2"])
def secure(
    request: pytest.FixtureRequest,
    gateway_template: Path,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Secure]:
    """One that speaks https, and sends plain http on another port there."""
    port = free_port()
    with Gateway(
        tmp_path_factory.mktemp("secure") / "gateway", template=gateway_template,
        args=("--redirect-http", f"127.0.0.1:{port}", *tls(certificates), *request.param),
        env={"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"},
    ) as gateway:  # fmt: skip
        yield Secure(gateway.start(), port)


def options(**changed: object) -> dict[str, Any]:
    given = {"bind": "127.0.0.1:8000", "workers": 1, "tls_cert": [], "tls_key": [], "redirect_http": None}
    return given | {"http2": False} | changed


def problem(**changed: object) -> str:
    with pytest.raises(StartRefused) as refused:
        serve.serve(**options(**changed))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def refusal(env: dict[str, str], *args: str) -> str:
    result = manage(env, "serve", *args)
    assert result.returncode == 1, result
    lines = [line for line in result.stderr.splitlines() if line.startswith(("CommandError", "authgate: "))]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


@pytest.mark.parametrize(
    "bind", ["8000", ":8000", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "::1:80", "a b:80", ""]
)
def test_an_address_that_is_none_is_refused(bind: str) -> None:
    assert f"--bind: {bind!r} is not HOST:PORT" in problem(bind=bind)


@pytest.mark.parametrize("http2", [(), ("--http2",)], ids=["http1", "http2"])
def test_a_busy_port_is_one_clear_line(env: dict[str, str], http2: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        assert f"--bind: cannot listen on {address}: Address already in use" in refusal(env, "--bind", address, *http2)


def test_a_busy_redirect_port_is_one_clear_line(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        line = refusal(env, "--bind", f"127.0.0.1:{free_port()}", "--redirect-http", address)
    assert f"--redirect-http: cannot listen on {address}" in line


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["http1", "http2"])
def challenged(
    request: pytest.FixtureRequest,
    gateway_template: Path,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[int, Path]]:
    """The port of plain http, and the directory that certbot writes to."""
    port, acme = free_port(), tmp_path_factory.mktemp("acme")
    (acme / ".well-known" / "acme-challenge").mkdir(parents=True)
    (acme / "secret").write_text("not for anybody")
    with Gateway(
        tmp_path_factory.mktemp("challenged") / "gateway", template=gateway_template,
        args=("--redirect-http", f"127.0.0.1:{port}", "--acme-dir", str(acme), *tls(certificates), *request.param),
        env={"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"},
    ) as gateway:  # fmt: skip
        gateway.start()
        yield port, acme


def test_challenges_of_certificate_authorities_are_answered_over_plain_http(challenged: tuple[int, Path]) -> None:
    port, acme = challenged
    (acme / ".well-known" / "acme-challenge" / "a-Token_1").write_text("a-Token_1.thumbprint")
    response = raw.exchange(("127.0.0.1", port), raw.request(target="/.well-known/acme-challenge/a-Token_1"))
    assert (response.status, response.text) == (200, "a-Token_1.thumbprint")


@pytest.mark.parametrize(
    "target",
    ["unknown", "", "..", "../../secret", "%2e%2e/%2e%2e/secret", "a/../../../secret", "../acme-challenge", "."],
)
def test_nothing_else_of_that_directory_is_served(challenged: tuple[int, Path], target: str) -> None:
    port, _ = challenged
    response = raw.exchange(("127.0.0.1", port), raw.request(target=f"/.well-known/acme-challenge/{target}"))
    assert response.status in (308, 400)


def test_no_workers_are_refused() -> None:
    assert problem(workers=0) == "--workers: at least 1, not 0"


def test_a_certificate_needs_its_key() -> None:
    assert problem(tls_cert=["x"]).startswith("--tls-cert and --tls-key belong together: one key for each certificate")


@pytest.mark.parametrize("case", ["missing", "directory", "not PEM", "mismatched", "encrypted"])
def test_tls_files_that_do_not_work_are_refused(certificates: Certificates, tmp_path: Path, case: str) -> None:
    key = tmp_path / "key.pem"
    expected = "not a certificate and its unencrypted key in PEM form"
    if case == "missing":
        expected = f"--tls-key: cannot read {str(key)!r}: No such file or directory"
    elif case == "directory":
        key.mkdir()
        expected = f"--tls-key: cannot read {str(key)!r}: Is a directory"
    elif case == "not PEM":
        key.write_text("nonsense")
    else:
        key.write_bytes(new_key(b"secret" if case == "encrypted" else None))
        if case == "mismatched":
            expected = "the key does not belong to the certificate"
    assert expected in problem(tls_cert=[str(certificates.cert_file)], tls_key=[str(key)])


@pytest.mark.parametrize("days", [-1, 0])
def test_a_certificate_that_has_expired_is_refused_by_its_name(tmp_path: Path, days: int) -> None:
    made = make_certificates(tmp_path, days=days)
    line = problem(tls_cert=[str(made.cert_file)], tls_key=[str(made.key_file)])
    assert line.startswith(f"--tls-cert {made.cert_file}: expired on 20")


def test_one_of_several_certificates_has_to_name_a_host(certificates: Certificates, tmp_path: Path) -> None:
    made = make_certificates(tmp_path, loopback=False)
    tls_files([str(made.cert_file)], [str(made.key_file)])  # alone it is for everybody
    pairs = [[str(one.cert_file), str(one.key_file)] for one in (certificates, made)]
    certs, keys = zip(*pairs, strict=True)
    assert problem(tls_cert=certs, tls_key=keys).startswith(f"--tls-cert {made.cert_file}: names no host")


def test_the_wrong_key_of_several_is_named(certificates: Certificates, tmp_path: Path) -> None:
    made = make_certificates(tmp_path, "wiki.example.com")
    certs = [str(certificates.cert_file), str(made.cert_file)]
    line = problem(tls_cert=certs, tls_key=[str(made.key_file), str(certificates.key_file)])
    assert line.startswith(f"--tls-cert {certs[0]}, --tls-key {made.key_file}: the key does not belong")


def test_http2_takes_one_certificate(env: dict[str, str], certificates: Certificates) -> None:
    line = refusal(env, "--bind", f"127.0.0.1:{free_port()}", *tls(certificates), *tls(certificates), "--http2")
    assert "--tls-cert: with --http2 there can be one alone" in line


def new_key(password: bytes | None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_redirecting_to_plain_http_makes_no_sense(settings: Any) -> None:
    settings.SECURE = False
    assert "AUTHGATE_PUBLIC_URL is not an https URL" in problem(redirect_http="127.0.0.1:0")


def test_unapplied_migrations_are_one_clear_line(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "authgate.sqlite3").touch(mode=0o600)
    assert "unapplied migrations: run `manage.py migrate` first" in refusal(environment(data_dir))


def test_a_database_that_is_not_there_is_one_clear_line_and_is_not_made(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    line = refusal(environment(data_dir))
    assert f"'{data_dir}/authgate.sqlite3' is not there; put it back, or run manage.py migrate for a new one" in line
    assert not (data_dir / "authgate.sqlite3").exists()


def test_a_database_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "authgate.sqlite3").write_bytes(b"nonsense" * 1000)
    assert "database: file is not a database" in refusal(environment(data_dir, AUTHGATE_SECRET_KEY="secret " * 8))


def tls(certificates: Certificates) -> tuple[str, ...]:
    return ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))


def trusting(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca_file))
    context.check_hostname = False
    return context


def health(gateway: Gateway, context: ssl.SSLContext | None = None) -> raw.Response:
    with gateway.connect(tls=context) as client:
        return client.send(raw.request(target="/health")).response()


def test_https_speaks_tls_1_2_and_1_3_only(secure: Secure, certificates: Certificates) -> None:
    gateway = secure.gateway
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(certificates)
        context.minimum_version = context.maximum_version = version
        assert health(gateway, context).text == "healthy"
    old = trusting(certificates)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        health(gateway, old)


def test_hup_takes_a_new_certificate_and_survives_a_broken_one(
    gateway_template: Path, certificates: Certificates, tmp_path: Path
) -> None:
    cert, key = (
        shutil.copy(certificates.cert_file, tmp_path / "cert.pem"),
        shutil.copy(certificates.key_file, tmp_path / "key.pem"),
    )
    args, env = ("--tls-cert", str(cert), "--tls-key", str(key)), {"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}
    with Gateway(tmp_path / "gateway", template=gateway_template, args=args, env=env) as gateway:
        gateway.start()
        assert health(gateway, trusting(certificates)).text == "healthy"
        Path(cert).write_text("nonsense")
        old = gateway.worker_pids()
        assert gateway.process is not None
        gateway.process.send_signal(1)
        deadline = time.monotonic() + 10
        while not set(old).isdisjoint(gateway.worker_pids()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert health(gateway, trusting(certificates)).text == "healthy"


def test_plain_http_of_a_services_host_stays_on_that_host(
    gateway_template: Path, certificates: Certificates, session_upstream: Any, tmp_path: Path
) -> None:
    port = free_port()
    policy = f"""
version: 1
upstreams: {{wiki: {{targets: ['{session_upstream.target}']}}}}
routes: [{{name: wiki, host: wiki.example.com, path: /, access: public, upstream: wiki}}]
"""
    with Gateway(
        tmp_path / "gateway", template=gateway_template, policy=policy,
        args=("--redirect-http", f"127.0.0.1:{port}", *tls(certificates)),
        env={"AUTHGATE_PUBLIC_URL": "https://gateway.example.com:8443"},
    ) as gateway:  # fmt: skip
        gateway.start()
        expected = {
            "wiki.example.com": "wiki.example.com", "WIKI.example.com.:80": "wiki.example.com",
            "gateway.example.com": "gateway.example.com", "evil.example": "gateway.example.com",
            "evil.example/wiki.example.com": None,
        }  # fmt: skip
        for host, there in expected.items():
            response = raw.exchange(("127.0.0.1", port), raw.request(target="/a?b", host=host))
            assert response.header("location") == (there and f"https://{there}:8443/a?b"), host


def test_plain_http_is_sent_to_the_public_url_whatever_other_host_it_names(secure: Secure) -> None:
    port = secure.plain_port
    for method, target in (("GET", "/a?next=%2Fb"), ("GET", "/a?"), ("POST", "//evil.example/"), ("GET", "/health")):
        response = raw.exchange(("127.0.0.1", port), raw.request(method, target, host="evil.example"))
        assert response.status == 308
        assert response.header("location") == f"https://gateway.example.com{target}"
        assert response.body == b""
    assert raw.exchange(("127.0.0.1", port), b"GET / HTTP/1.1\r\n\r\n").status == 400


@pytest.mark.parametrize("secure", [("--http2",)], ids=["http2"], indirect=True)
def test_http2_is_spoken_over_tls(secure: Secure, certificates: Certificates) -> None:
    gateway = secure.gateway
    context = trusting(certificates)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(gateway.address) as plain, context.wrap_socket(plain, server_hostname="x") as client:
        assert client.selected_alpn_protocol() == "h2"


BAD_ON_HTTP2_SERVER = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "TRACE": (raw.request("TRACE"), 405),
    "long target": (raw.request(target="/" + "a" * 9000), 414),
    "long header": (raw.request(headers=[("X", "a" * 17000)]), 431),
    "other coding": (raw.request("POST", headers=[("Transfer-Encoding", "gzip, chunked")]) + b"0\r\n\r\n", 400),
    "expectation": (raw.request("POST", headers=[("Expect", "x")], body=b"x"), 417),
}


@pytest.fixture(scope="module")
def cleartext(gateway_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory, env = tmp_path_factory.mktemp("cleartext"), {"AUTHGATE_PUBLIC_URL": "http://localhost"}
    with Gateway(directory / "gateway", template=gateway_template, args=("--http2",), env=env) as gateway:
        yield gateway.start()


def test_the_http2_server_keeps_the_same_rules_for_heads(cleartext: Gateway) -> None:
    for name, (data, status) in BAD_ON_HTTP2_SERVER.items():
        response = cleartext.send(data)
        assert response.status == status, name
        assert response.header("server") in (None, "authgate")


def test_a_request_over_cleartext_http2_is_served(cleartext: Gateway) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    command = [
        curl,
        "-s",
        "--http2-prior-knowledge",
        "-w",
        " %{http_version}",
        f"http://127.0.0.1:{cleartext.port}/health",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "healthy 2"


def test_the_default_number_of_workers_is_the_number_of_processors() -> None:
    arguments = serve.Command().create_parser("manage.py", "serve").parse_args([])
    assert arguments.workers == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_tls_key_open_to_others_is_said(
    certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    key = Path(shutil.copy(certificates.key_file, tmp_path / "key.pem"))
    key.chmod(mode)
    tls_files([str(certificates.cert_file)], [str(key)])
    assert ("is open to other users of this machine" in caplog.text) is warned
