"""Bytes around a handshake that somebody could take for a request, or for somebody else's answer."""

from __future__ import annotations

import struct
import threading
import time

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.sessions import make_session
from tests.support.upstream import RecordingUpstream
from tests.support.websocket import ACCEPT, handshake

SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PROVIDER = {"slug": "main", "provider": {"issuer": "https://id.example.com"}}
SLOW = "  - {name: slow, path: /slow, access: public, upstream: slow}\n"


@pytest.fixture(scope="module")
def site(gateway_template, session_upstream, tmp_path_factory):
    target = session_upstream.target
    slow = f'  slow: {{targets: ["{target}"], timeouts: {{response: 0.5}}}}\nroles:\n'
    policy = demo_policy(target).replace("roles:\n", slow, 1) + SLOW
    with Gateway(tmp_path_factory.mktemp("smuggling") / "data", template=gateway_template, policy=policy) as started:
        yield started.start()
        assert "Traceback" not in started.output
        assert "never retrieved" not in started.output


def opening(site, path, *more, **changed):
    return raw.request("GET", path, [*handshake(**changed), *more], host=f"localhost:{site.port}")


def opened(site, path, *more):
    client = site.connect().send(opening(site, path, *more))
    assert client.read_head().status == 101
    return client


def saying(*pieces, pause=0.0):
    """A service that says this, and then nothing until the other side has gone."""

    def say(connection, request):
        for piece in pieces:
            connection.send(piece)
            time.sleep(pause)
        connection.wait_closed()

    return say


# -- behind a handshake -----------------------------------------------------------------------------------------

REFUSED = {
    "by the service": ("/api/public/x", {}, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
    "by a plain answer": ("/api/public/x", {}, OK, 200),
    "by a 426": ("/api/public/x", {}, b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", 426),
    "nobody": ("/api/protected/x", {}, OK, 401),
    "no route": ("/nowhere", {}, OK, 404),
    "not whole": ("/api/public/x", {"Sec_WebSocket_Version": "8"}, OK, 400),
    "another protocol": ("/api/public/x", {"Upgrade": "spdy/3.1"}, OK, 501),
    "a page of ours": ("/auth/me", {}, OK, 401),
    "a false 101": ("/api/public/x", {}, SWITCH.replace(ACCEPT.encode(), b"x"), 502),
}


@pytest.mark.parametrize(("path", "changed", "answer", "status"), REFUSED.values(), ids=REFUSED)
def test_nothing_behind_a_handshake_is_a_request(site, upstream, path, changed, answer, status):
    """A cache that pipes from a handshake on applies none of its rules to what comes behind it."""
    upstream.reply(answer)
    smuggled = raw.request("GET", "/api/public/smuggled", host=f"localhost:{site.port}")
    with site.connect() as client:
        client.send(opening(site, path, **changed) + smuggled)
        head = client.response()
        assert (head.status, head.header("connection")) == (status, "close")
        assert client.read_all() == b""
    assert all(request.path != b"/api/public/smuggled" for request in upstream.requests)


def test_offers_of_the_same_protocol_do_not_end_a_connection(site, upstream):
    with site.connect() as client:
        for _ in range(2):
            client.send(opening(site, "/api/public/x", ("HTTP2-Settings", "AAMAAABkAAQ"), Upgrade="h2c"))
            assert client.response().status == 200


def test_a_handshake_that_failed_leaves_no_connection_for_others(site, upstream):
    """Somebody between the gateway and the service may take it for a tunnel."""
    for path in ("/api/public/a", "/api/public/b"):
        assert site.send(opening(site, path)).status == 200
    assert site.get("/api/public/c").status == 200
    assert len({request.connection for request in upstream.requests}) == 3


def test_a_tunnel_leaves_no_connection_for_others(site, upstream):
    upstream.reply(saying(SWITCH, b"\x88\x00"), path="/api/public/ws")
    with opened(site, "/api/public/ws") as client:
        assert client.read(2) == b"\x88\x00"
    assert site.get("/api/public/next").status == 200
    assert [request.connection for request in upstream.requests] == [
        upstream.connections - 1, upstream.connections,
    ]  # fmt: skip


def test_a_handshake_on_a_kept_connection_that_was_just_closed_is_made_again(site, upstream):
    def once(connection, request):
        connection.send(OK)
        connection.keep_alive = True
        first = request.connection
        upstream.reply(
            lambda connection, request: connection.reset() if request.connection == first else say(connection, request)
        )

    say = saying(SWITCH, b"\x81\x02hi")
    upstream.reply(once)
    assert site.get("/api/public/x").status == 200
    with opened(site, "/api/public/ws") as client:
        assert client.read(4) == b"\x81\x02hi"
    assert len(upstream.requests) == 3


# -- the 101 ----------------------------------------------------------------------------------------------------

MEGABYTES = b"\x82\x7f" + struct.pack("!Q", 3 << 20) + b"x" * (3 << 20)
ARRIVALS = {
    "byte by byte": ([bytes([byte]) for byte in SWITCH + b"\x81\x02hi"], b"\x81\x02hi"),
    "after early hints": ([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + SWITCH + b"\x81\x02hi"], b"\x81\x02hi"),
    "after 100": ([b"HTTP/1.1 100 Continue\r\n\r\n", SWITCH, b"\x81\x02hi"], b"\x81\x02hi"),
    "with megabytes": ([SWITCH + MEGABYTES], MEGABYTES),
    "twice": ([SWITCH, SWITCH], SWITCH),
    "with an answer behind it": ([SWITCH + OK], OK),
}


@pytest.mark.parametrize(("pieces", "first"), ARRIVALS.values(), ids=ARRIVALS)
def test_what_comes_behind_the_101_is_the_tunnels_however_it_comes(site, upstream, pieces, first):
    upstream.reply(saying(*pieces, pause=0.001 if len(pieces) > 3 else 0.0))
    with opened(site, "/api/public/ws") as client:
        assert client.read(len(first)) == first


def test_megabytes_before_the_answer_reach_the_service_whole(site, upstream):
    def slowly(connection, request):
        time.sleep(0.3)
        echo(connection, request)

    upstream.reply(slowly)
    early = b"y" * 3_000_000 + b"bye"
    with site.connect() as client:
        threading.Thread(target=client.send, args=(opening(site, "/api/public/ws") + early,)).start()
        assert client.read_head().status == 101
        assert client.read(len(early)) == early


def test_a_second_head_in_the_tunnel_sets_no_cookie_of_ours_and_ends_nothing(site, upstream):
    upstream.reply(saying(SWITCH + b"\x81\x02hi"))
    with opened(site, "/api/public/ws") as client:
        assert client.read(4) == b"\x81\x02hi"
        client.send(raw.request("GET", "/api/admin/x"))  # is no request any more
        assert client.is_closed(timeout=0.5) is False
    assert len(upstream.requests) == 1


def test_a_service_that_never_answers_the_handshake_is_given_up(site, upstream):
    upstream.reply(saying())
    assert site.send(opening(site, "/slow/x")).status == 504


def test_expect_is_nothing_that_a_handshake_waits_for(site, upstream):
    upstream.reply(saying(SWITCH))
    with opened(site, "/api/public/ws", ("Expect", "100-continue")):
        assert upstream.only.all("expect") == []


@pytest.mark.parametrize("dropped", ["Sec-WebSocket-Key", "sec-websocket-version", "Sec-WebSocket-Protocol"])
def test_connection_takes_no_part_of_the_handshake_from_what_the_service_sees(site, upstream, dropped):
    answer = site.send(opening(site, "/api/public/ws", Connection=f"Upgrade, {dropped}"))
    assert (answer.status, answer.json()["reason"], upstream.requests) == (400, "bad_upgrade", [])


# -- sessions ---------------------------------------------------------------------------------------------------


def test_on_a_public_route_an_expired_cookie_counts_if_its_session_lives(site, upstream):
    upstream.reply(saying(SWITCH))
    made = make_session(site, "guest", cookie_age=400, **PROVIDER)
    with opened(site, "/api/public/ws", ("Origin", site.url), *made.headers):
        assert upstream.only.header("X-Auth-User-ID") == "main|guest"


@pytest.mark.parametrize("body", [raw.chunked(b"abc"), b""], ids=["whole", "unfinished"])
def test_a_body_is_refused_whatever_became_of_the_session_meanwhile(site, upstream, body):
    made = make_session(site, f"poster-{len(body)}", cookie_age=400, **PROVIDER)
    headers = [("Origin", site.url), ("Transfer-Encoding", "chunked"), *made.headers]
    with site.connect() as client:
        client.send(opening(site, "/api/protected/x", *headers) + body)
        answer = client.response()
    assert (answer.status, answer.json()["reason"], answer.header("connection")) == (400, "bad_upgrade", "close")
    assert upstream.requests == []


def test_a_session_in_its_last_seconds_is_renewed_once(site, upstream):
    """Its new cookie is over while it is still remembered."""
    upstream.reply(saying(SWITCH))
    made = make_session(site, "last", cookie_age=400, left=2, **PROVIDER)
    asking = opening(site, "/api/protected/x", ("Origin", site.url), *made.headers)
    with site.connect() as client:
        assert client.send(asking).read_head().status == 101
    time.sleep(2.1)
    began = time.monotonic()
    assert site.send(asking).status == 401
    assert time.monotonic() - began < 2


# -- other kinds of connections ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encrypted(gateway_template, certificates, tmp_path_factory):
    """TLS to the client; to the services TLS and a Unix socket."""
    directory = tmp_path_factory.mktemp("encrypted")
    with (
        RecordingUpstream(tls=certificates.server_context()) as tls,
        RecordingUpstream(unix_path=directory / "s") as unix,
    ):
        tls.reply(echo)
        unix.reply(echo)
        policy = demo_policy(f"https://localhost:{tls.port}").replace(
            "roles:\n", f'  unix: {{targets: ["{unix.target}"]}}\nroles:\n', 1
        )
        policy += "  - {name: unix, path: /unix, access: public, upstream: unix}\n"
        policy = policy.replace("access: public,", "access: public, timeouts: {idle: 1},")
        files = ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))
        env = {"SSL_CERT_FILE": str(certificates.ca_file)}
        with Gateway(
            directory / "data", template=gateway_template, policy=policy, args=files, tls=True, env=env
        ) as site:
            yield site.start()
            assert "Traceback" not in site.output


def echo(connection, request):
    connection.send(SWITCH)
    total = b""
    while data := connection.socket.recv(65536):
        connection.send(data)
        total += data
        if total.endswith(b"bye"):
            return


@pytest.mark.parametrize("path", ["/api/public/x", "/unix/x"])
def test_bytes_pass_both_ways_over_tls_and_a_unix_socket(encrypted, certificates, path):
    with encrypted.connect(tls=certificates.client_context()) as client:
        assert client.send(opening(encrypted, path)).read_head().status == 101
        # One after the other: Python's TLS sockets do not bear two threads.
        for piece in (b"a", *[b"b" * 60_000] * 20):
            assert client.send(piece).read(len(piece)) == piece
        time.sleep(1.6)  # no silence counts as one who takes nothing
        assert client.send(b"bye").read(3) == b"bye"
        assert client.read_all() == b""
