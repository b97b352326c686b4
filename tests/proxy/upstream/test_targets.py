"""Kinds of targets: unix sockets, TLS; and what never has a say in where a request goes."""

from __future__ import annotations

import socket

import pytest

from proxy.buffers import READ_BYTES
from proxy.upstream.dial import allowed_addresses
from proxy.upstream.targets import UpstreamUnreachable
from tests.support import raw
from tests.support.certificates import make_certificates
from tests.support.gateway import Gateway
from tests.support.scripted import Kept, answer, assert_refusal
from tests.support.upstream import RecordingUpstream


def policy(**targets: str) -> str:
    upstreams = "\n".join(
        f'  {name}: {{targets: ["{target}"], timeouts: {{connect: 1}}}}' for name, target in targets.items()
    )
    routes = "\n".join(f"  - {{name: {n}, path: /{n}, access: public, upstream: {n}}}" for n in targets)
    return f"version: 1\nupstreams:\n{upstreams}\nroutes:\n{routes}\n"


@pytest.fixture(scope="module")
def tls(certificates):
    with RecordingUpstream(tls=certificates.server_context()) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Its certificate is from an authority nobody trusts."""
    with RecordingUpstream(tls=make_certificates(tmp_path_factory.mktemp("other")).server_context()) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def unix(tmp_path_factory):
    with RecordingUpstream(unix_path=tmp_path_factory.mktemp("unix") / "s") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def various(gateway_template, session_upstream, certificates, tls, stranger, unix, tmp_path_factory):
    text = policy(
        tls=f"https://localhost:{tls.port}",
        address=f"https://127.0.0.1:{tls.port}",
        othername=f"https://127.0.0.2:{tls.port}",
        stranger=f"https://localhost:{stranger.port}",
        plain=f"https://127.0.0.1:{session_upstream.port}",
        reversed=f"http://127.0.0.1:{tls.port}",
        unix=unix.target,
        live=session_upstream.target,
    )
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text("default login eve password secret\n")
    env = {
        "SSL_CERT_FILE": str(certificates.ca_file),
        "HOME": str(home),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    }
    with Gateway(
        tmp_path_factory.mktemp("various") / "data", template=gateway_template, policy=text, env=env
    ) as gateway:
        yield gateway.start()
        assert "Traceback" not in gateway.output


def test_requests_go_through_a_unix_socket(various, unix):
    unix.clear()
    unix.reply(answer(body=b"hello"))
    for _ in range(3):
        assert various.request("/unix/x", method="POST", body=b"body").body == b"hello"
    assert unix.requests[0].header("host") == "localhost"
    assert len({request.connection for request in unix.requests}) == 1


@pytest.mark.parametrize("path", ["/tls/x", "/address/x"])
def test_requests_go_over_tls_to_a_server_that_proves_its_name(various, tls, path):
    tls.clear()
    tls.reply(Kept(answer(body=b"hello")))
    for _ in range(3):
        assert various.request(path, method="POST", body=b"body" * 50_000).body == b"hello"
    assert len({request.connection for request in tls.requests}) == 1


@pytest.mark.parametrize(("path", "status"), [("/stranger/x", 502), ("/plain/x", 504), ("/reversed/x", 502)])
def test_a_server_that_does_not_prove_itself_gets_nothing(various, tls, stranger, upstream, path, status):
    stranger.clear()
    assert_refusal(various.get(path), status)
    assert stranger.requests == upstream.requests == []


def test_the_name_in_the_certificate_must_be_the_one_configured(various, tls):
    tls.clear()
    assert_refusal(various.get("/othername/x"), 502)
    assert tls.requests == []


def test_system_authorities_alone_are_trusted_otherwise(gateway_template, tls, tmp_path):
    with Gateway(
        tmp_path / "data", template=gateway_template, policy=policy(tls=f"https://localhost:{tls.port}")
    ) as gateway:
        tls.clear()
        assert_refusal(gateway.start().get("/tls/x"), 502)
        assert tls.requests == []


@pytest.mark.parametrize("alert", [True, False], ids=["close alert", "cut"])
def test_a_body_until_close_is_whole_over_tls_only_with_the_close_alert(various, tls, alert):
    """Anybody on the way can end the connection; only the server can say that it is at its end (RFC 9112 9.8)."""

    def send_and_close(connection, request):
        connection.send(answer(body=b"hello", length=False))
        if alert:
            connection.socket.unwrap()
        connection.socket.shutdown(socket.SHUT_RDWR)

    tls.clear()
    tls.reply(send_and_close)
    if alert:
        assert various.get("/tls/x").body == b"hello"
    else:
        with pytest.raises(raw.Truncated):
            various.get("/tls/x")


def test_an_answer_that_nobody_asked_for_is_nobodys_over_tls_too(various, tls):
    """What TLS has decrypted, but does not fit into one read, is not seen by a look at the socket."""
    first = answer(body=b"x" * READ_BYTES)
    first = answer(body=b"x" * (2 * READ_BYTES - len(first)))
    assert len(first) == READ_BYTES

    def send_more(connection, request):
        connection.send(first + answer(body=b"stray"))
        connection.keep_alive = True

    tls.clear()
    tls.reply(send_more, path="/tls/first")
    tls.reply(Kept(answer(body=b"second")), path="/tls/second")
    pipelined = [raw.request("GET", path, host=f"localhost:{various.port}") for path in ("/tls/first", "/tls/second")]
    for _ in range(10):
        with various.connect() as client:
            client.send(b"".join(pipelined))
            assert client.response().body.startswith(b"x")
            assert client.response().body == b"second"


def test_proxies_of_the_environment_and_netrc_have_no_say(various, upstream):
    assert various.get("/live/x").status == 200
    assert upstream.only.all("authorization") == upstream.only.all("proxy-authorization") == []


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "168.63.129.16",
        "::ffff:100.100.100.200",
        "64:ff9b:1::a9fe:a9fe",
    ],
)
def test_a_name_may_not_lead_to_the_clouds_metadata_service(address):
    """Nobody can listen there in a test: this looks at the check itself."""
    with pytest.raises(UpstreamUnreachable, match="metadata"):
        allowed_addresses([address])
    assert allowed_addresses([address, "127.0.0.1"]) == ["127.0.0.1"]
