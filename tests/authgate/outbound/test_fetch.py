"""HTTP to providers: bounded, to the named host only, over proven connections, whatever the environment says."""

from __future__ import annotations

import gzip
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from authgate.outbound import fetch
from authgate.outbound.errors import ProviderError
from tests.support.certificates import Certificates
from tests.support.hostile import HostileProvider, Reply


@contextmanager
def raw_server(serve: Callable[[socket.socket], None], count: int = 1) -> Iterator[str]:
    """Each connection is handed to `serve` after its request was read."""

    def run() -> None:
        for _ in range(count):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    serve(connection)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(10)


def dribble(head: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.05)

    return serve


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="nothing but a status line that never ends"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", id="a header that never ends"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", id="a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="a body without length"),
    ],
)
def test_a_provider_that_dribbles_is_cut_off_in_time(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.5)
    began = time.monotonic()

    with raw_server(dribble(head)) as url, pytest.raises(ProviderError, match="provider_unavailable"):
        fetch.get(url, "provider")
    assert time.monotonic() - began < 3


def test_a_provider_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.3)

    with (
        raw_server(lambda connection: time.sleep(1)) as url,
        pytest.raises(ProviderError, match="did not answer within"),
    ):
        fetch.get(url, "provider")


@contextmanager
def deaf_address(url: str) -> Iterator[str]:
    """At the port of `url` nobody takes connections here, and no more fit into the queue: they are not answered."""
    address = ("127.0.0.3", urlsplit(url).port)
    with socket.create_server(address, backlog=0), ExitStack() as waiting:
        for _ in range(2):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield address[0]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str, after: float = 0) -> None:
    def resolve(_: str, port: int, **__: object) -> list[object]:
        time.sleep(after)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 2.0)
    with HostileProvider() as hostile, deaf_address(hostile.url) as deaf:
        resolve_to(monkeypatch, deaf, "127.0.0.1")
        hostile.answers["/x"] = lambda seen: Reply(200, {})
        assert fetch.get(f"{hostile.url}/x", "provider").status == 200


def test_a_handshake_has_all_the_time_that_is_left_however_many_addresses_there_are(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 4.0)

    def answer_late(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        time.sleep(1)
        with certificates.server_context().wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as server:
        served = server.submit(answer_late, listener)
        resolve_to(monkeypatch, *["127.0.0.1"] * 16)
        url = f"https://localhost:{listener.getsockname()[1]}/"
        assert fetch.get(url, "provider", ca_certificates=certificates.ca_file.read_text()).status == 200
        served.result(5)


def test_all_addresses_together_have_the_time_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.6)
    with raw_server(dribble(b"HTTP/1.1 200 OK\r\nX: ")) as url, deaf_address(url) as deaf:
        resolve_to(monkeypatch, deaf, deaf, "127.0.0.1")
        began = time.monotonic()
        with pytest.raises(ProviderError, match="did not answer within"):
            fetch.get(url, "provider")
        assert time.monotonic() - began < 1.5


def test_nothing_is_sent_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.3)
    with HostileProvider() as hostile:
        resolve_to(monkeypatch, "127.0.0.1", after=0.5)
        with pytest.raises(ProviderError, match="did not answer within"):
            fetch.get(f"{hostile.url}/x", "provider")
        assert hostile.seen == []


def test_a_provider_that_hangs_does_not_hold_the_threads_of_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.5)

    def ask(url: str) -> str:
        with pytest.raises(ProviderError) as refused:
            fetch.get(url, "provider")
        return refused.value.detail

    with HostileProvider() as hostile, ThreadPoolExecutor(12) as threads:
        hostile.answers["/x"] = lambda seen: time.sleep(1) or Reply()
        ask(f"{hostile.url}/x")
        details = list(threads.map(ask, [f"{hostile.url}/x"] * 12))
        assert sum("others wait" in detail for detail in details) == 12 - fetch.CALLS_WHEN_SLOW


def test_a_provider_that_answers_again_gets_as_many_calls_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.3)
    with HostileProvider() as hostile, ThreadPoolExecutor(12) as threads:
        hostile.answers["/x"] = lambda seen: time.sleep(0.6) or Reply()
        with pytest.raises(ProviderError):
            fetch.get(f"{hostile.url}/x", "provider")
        monkeypatch.setattr(fetch, "SECONDS", 10.0)
        hostile.answers["/x"] = lambda seen: Reply()
        fetch.get(f"{hostile.url}/x", "provider")

        answers = list(threads.map(lambda _: fetch.get(f"{hostile.url}/x", "provider"), range(12)))
        assert [answer.status for answer in answers] == [200] * 12


@pytest.mark.parametrize("encoding", ["chunked", "length", "close"])
def test_a_body_without_end_is_given_up(encoding: str) -> None:
    def serve(connection: socket.socket) -> None:
        chunk = b"x" * 65536
        if encoding == "chunked":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b"10000\r\n" + chunk + b"\r\n"
        elif encoding == "length":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            connection.sendall(chunk)

    with raw_server(serve) as url, pytest.raises(ProviderError, match="more than 1048576 bytes"):
        fetch.get(url, "provider")


def test_a_body_is_never_unpacked() -> None:
    with HostileProvider() as hostile:
        packed = gzip.compress(b'{"a": 1}')
        hostile.answers["/x"] = lambda seen: Reply(200, packed, {"Content-Encoding": "gzip"})

        assert fetch.get(f"{hostile.url}/x", "provider").body == packed


def test_proxies_and_passwords_of_the_environment_have_no_effect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    with HostileProvider() as hostile:
        hostile.answers["/x"] = lambda seen: Reply(200, {})
        assert fetch.get(f"{hostile.url}/x", "provider").status == 200
        assert "authorization" not in hostile.seen[0].headers


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/", "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "http://2130706433/",
        "http://0x7f.1/", "http://169.254.169.254/", "http://[::ffff:10.0.0.1]/", "https://a@idp.example/",
        "https://idp.example/#x", "https://idp.example\\@evil.example/", "https://idp.example/\r\nX: y",
        "https:///path", "ftp://idp.example/", "file:///etc/passwd", "data:,x", "//idp.example/", "", "https://[::1",
        "https://idp.example:port/", "https://idp.\u00e9xample/",
    ],
)  # fmt: skip
def test_an_address_that_is_not_plain_https_is_refused(url: str) -> None:
    with pytest.raises(ProviderError, match="provider_unavailable"):
        fetch.check_url(url, "address")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://localhost:1/x", "http://[::1]:1/", "https://idp.example"]
)
def test_https_and_loopback_are_accepted(url: str) -> None:
    assert fetch.check_url(url, "address") == url


def test_a_name_of_this_machine_that_is_resolved_to_another_one_is_not_asked_in_the_clear(monkeypatch) -> None:
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]
    monkeypatch.setattr(fetch.socket, "getaddrinfo", lambda *args, **options: elsewhere)
    with pytest.raises(ProviderError, match="provider_unavailable") as refused:
        fetch.get("http://idp.localhost/", "provider")
    assert "was resolved to an address of another one" in refused.value.detail


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@contextmanager
def tls_server(certificates: Certificates) -> Iterator[str]:
    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None: ...

    server = Quiet(("127.0.0.1", 0), _Hello)
    server.socket = certificates.server_context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_provider_with_a_certificate_of_its_own_ca_is_trusted_by_that_ca(certificates: Certificates) -> None:
    with tls_server(certificates) as url:
        assert fetch.get(url, "provider", ca_certificates=certificates.ca_file.read_text()).status == 200


def test_a_certificate_that_nobody_here_trusts_is_refused(certificates: Certificates) -> None:
    with tls_server(certificates) as url, pytest.raises(ProviderError, match="no certificate that is trusted"):
        fetch.get(url, "provider")


def test_ca_certificates_that_are_none_are_named_as_the_trouble() -> None:
    with pytest.raises(ProviderError, match="CA certificates are not PEM"):
        fetch.get("https://localhost:1/", "provider", ca_certificates="not a certificate")


def test_an_error_does_not_repeat_the_address() -> None:
    with pytest.raises(ProviderError) as refused:
        fetch.get("http://127.0.0.1:1/?token=secret", "provider")
    assert "secret" not in str(refused.value) and refused.value.__cause__ is None


def test_a_connection_that_fails_is_told_with_address_and_cause_and_without_the_rest_of_the_url():
    with pytest.raises(ProviderError) as failed:
        fetch.get("http://localhost:1/path?secret=s3cr3t", "userinfo endpoint")
    assert failed.value.detail.startswith(
        "the userinfo endpoint at localhost:1 cannot be reached: Connection refused ("
    )


def test_a_name_that_is_none_is_told():
    with pytest.raises(ProviderError, match=r"at nowhere\.invalid:443 cannot be reached: .*(not known|resolution)"):
        fetch.get("https://nowhere.invalid/", "discovery document")
