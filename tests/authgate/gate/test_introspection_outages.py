"""An introspection endpoint that fails costs nobody else anything, and its own callers no more than it must."""

from __future__ import annotations

import json
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.support import raw
from tests.support.gateway import free_port
from tests.support.hostile import DISCOVERY, Reply
from tests.support.http2 import Http2Client, head
from tests.support.introspecting import API, INTROSPECT, IntrospectingIssuer, add_issuer
from tests.support.policies import demo_policy
from tests.support.scripted import Kept, Script, answer
from tests.support.upstream import RecordingUpstream

PAGE = "/api/protected"
ACTIVE = json.dumps({"active": True, "aud": API, "sub": "robot", "exp": int(time.time()) + 3000}).encode()
GOOD = answer("Content-Type: application/json", body=ACTIVE)


def opaque() -> str:
    return secrets.token_urlsafe(24)


@pytest.fixture
def issuer():
    with IntrospectingIssuer() as issuer:
        yield issuer
        issuer.hold.set()


@pytest.fixture
def endpoint():
    """An endpoint of plain sockets."""
    with RecordingUpstream() as endpoint:
        yield endpoint


@pytest.fixture
def start(start_gateway, upstream):
    def start(endpoint, **fields):
        gateway = start_gateway(policy=demo_policy(upstream.target))
        add_issuer(gateway, "as", "https://as.example", introspection_endpoint=endpoint, **fields)
        return gateway

    return start


def ask(gateway, token=None):
    """Status and seconds."""
    began = time.monotonic()
    request = raw.request("GET", PAGE, host=f"{gateway.host}:{gateway.port}", token=token or opaque())
    got = gateway.send(request, timeout=20)
    if got.status == 503:
        assert (got.json()["reason"], got.header("retry-after")) == ("issuer_unavailable", "5")
    return got.status, time.monotonic() - began


def is_logged(gateway, words):
    """Lines are written beside the answers."""
    deadline = time.monotonic() + 5
    while words not in gateway.output and time.monotonic() < deadline:
        time.sleep(0.02)
    return words in gateway.output


def others_are_served(gateway):
    own = gateway.mint("alice")
    return all(status == 200 and seconds < 0.5 for status, seconds in (ask(gateway, own) for _ in range(5)))


def test_a_dead_endpoint_is_left_alone_after_some_failures_and_asked_again_later(start, endpoint):
    port = free_port()
    gateway = start(f"http://127.0.0.1:{port}{INTROSPECT}")
    assert [ask(gateway)[0] for _ in range(8)] == [503] * 8
    assert others_are_served(gateway)
    with socket.create_server(("127.0.0.1", port)) as listener:
        assert ask(gateway)[0] == 503
        listener.settimeout(0.3)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert (
        gateway.output.count(f"introspection endpoint at 127.0.0.1:{port} cannot be reached: Connection refused") == 1
    )


def test_after_the_pause_one_request_tries_and_all_go_on(start, endpoint):
    endpoint.reply(answer(status="503 Service Unavailable"))
    gateway = start(endpoint.target + INTROSPECT)
    assert [ask(gateway)[0] for _ in range(8)] == [503] * 8
    assert len(endpoint.requests) == 5
    time.sleep(5.2)
    endpoint.requests.clear()
    ended = []

    def slowly(connection, request):
        connection.read_body(request)
        time.sleep(0.5)
        ended.append(time.monotonic())
        connection.send(GOOD)
        connection.keep_alive = True

    endpoint.reply(slowly)
    with ThreadPoolExecutor(6) as pool:
        statuses = [status for status, _ in pool.map(lambda _: ask(gateway), range(6))]
    assert sorted(statuses) == [200, 503, 503, 503, 503, 503]
    assert len(endpoint.requests) == 1
    assert [ask(gateway)[0] for _ in range(3)] == [200] * 3


def test_a_failed_try_begins_the_pause_anew(start, endpoint):
    endpoint.reply(answer(status="502 Bad Gateway"))
    gateway = start(endpoint.target + INTROSPECT)
    for _ in range(2):
        endpoint.requests.clear()
        assert [ask(gateway)[0] for _ in range(8)] == [503] * 8
        assert len(endpoint.requests) in (5, 1)
        time.sleep(5.2)
    assert len(endpoint.requests) == 1


def test_tokens_that_it_answers_with_an_error_take_it_from_nobody_else(start, issuer):
    """A stranger may know a token that makes an endpoint fail."""
    gateway = start(issuer.url + INTROSPECT)
    good = issuer.grant(opaque(), iss=...)
    for status in (400, 401, 404, 413, 500):
        issuer.reply = lambda _, status=status: Reply(status)
        assert [ask(gateway)[0] for _ in range(6)] == [503] * 6
    issuer.reply = None
    assert ask(gateway, good)[0] == 200


@pytest.mark.timeout(90)
def test_an_endpoint_that_never_answers_holds_up_only_those_who_need_it(start, endpoint):
    endpoint.reply(lambda connection, request: connection.wait_closed(30))
    gateway = start(endpoint.target + INTROSPECT)
    with ThreadPoolExecutor(90) as pool:
        waiting = [pool.submit(ask, gateway) for _ in range(90)]
        time.sleep(1)
        assert others_are_served(gateway)
        results = [waiter.result() for waiter in waiting]
    assert {status for status, _ in results} == {503}
    assert max(seconds for _, seconds in results) < 12
    assert len(endpoint.requests) <= 64
    assert max(ask(gateway)[1] for _ in range(5)) < 0.5  # nobody waits to find that out again
    assert is_logged(gateway, "did not answer in time")


def test_an_answer_that_dribbles_is_cut_off_in_time(start, endpoint):
    pieces = [GOOD[:-20], *(GOOD[i : i + 1] for i in range(len(GOOD) - 20, len(GOOD)))]
    endpoint.reply(Script(*pieces, delay=1))
    gateway = start(endpoint.target + INTROSPECT)
    status, seconds = ask(gateway)
    assert status == 503
    assert 9 < seconds < 11.5


def test_an_answer_without_end_is_cut_off_at_its_size(start, endpoint):
    def endless(connection, request):
        connection.read_body(request)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):
            while True:
                connection.send(b"1000\r\n" + b" " * 4096 + b"\r\n")

    endpoint.reply(endless)
    gateway = start(endpoint.target + INTROSPECT)
    status, seconds = ask(gateway)
    assert (status, seconds < 2) == (503, True)
    assert is_logged(gateway, "sent more than 65536 bytes")


def test_a_connection_that_was_closed_meanwhile_is_no_failure(start, endpoint):
    endpoint.reply(Kept(GOOD))
    gateway = start(endpoint.target + INTROSPECT)
    assert ask(gateway)[0] == 200
    for _ in range(3):
        with endpoint._lock:
            for sock in endpoint._open:
                sock.shutdown(socket.SHUT_RDWR)
        assert ask(gateway)[0] == 200


def test_no_more_are_asked_about_at_a_time_than_the_bound(start, issuer):
    issuer.delay = 0.1
    gateway = start(issuer.url + INTROSPECT)
    with ThreadPoolExecutor(150) as pool:
        statuses = list(pool.map(lambda _: ask(gateway, issuer.grant(opaque(), iss=...))[0], range(150)))
    assert statuses == [200] * 150
    assert issuer.most_busy <= 64


def test_made_up_tokens_do_not_take_the_places_of_known_ones(start, issuer):
    gateway = start(issuer.url + INTROSPECT, introspection_seconds=1)
    known = issuer.grant(opaque(), iss=...)
    assert ask(gateway, known)[0] == 200
    time.sleep(1.1)
    issuer.delay = 0.5
    with ThreadPoolExecutor(300) as pool:
        strangers = [pool.submit(ask, gateway) for _ in range(300)]
        time.sleep(0.3)
        status, seconds = ask(gateway, known)
        assert (status, seconds < 1.5) == (200, True)
        assert {stranger.result()[0] for stranger in strangers} == {401}


def test_a_client_that_leaves_ends_only_its_own_wait(start, issuer):
    gateway = start(issuer.url + INTROSPECT)
    issuer.hold.clear()
    token = issuer.grant(opaque(), iss=...)
    with gateway.connect() as client:
        client.send(raw.request("GET", PAGE, host=f"{gateway.host}:{gateway.port}", token=token))
        while not issuer.times_asked(token):
            time.sleep(0.01)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(ask, gateway, token)
            time.sleep(0.2)
            client.close()
            time.sleep(0.2)
            issuer.hold.set()
            assert other.result()[0] == 200
    assert issuer.times_asked(token) == 1


def test_over_tls_by_the_issuers_own_authority(start, certificates):
    with RecordingUpstream(tls=certificates.server_context()) as endpoint:
        endpoint.reply(GOOD)
        gateway = start(endpoint.target + INTROSPECT, ca_certificates=certificates.ca_file.read_text())
        assert ask(gateway)[0] == 200
        distrusting = start(endpoint.target + INTROSPECT)
        assert ask(distrusting)[0] == 503
        assert is_logged(distrusting, "has no certificate that is trusted here")
        assert len(endpoint.requests) == 1


def test_no_proxy_of_the_environment_is_used(start_gateway, upstream, issuer):
    nowhere = "http://127.0.0.1:9"
    gateway = start_gateway(
        policy=demo_policy(upstream.target), env=dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), nowhere)
    )
    add_issuer(gateway, "as", issuer.url)
    assert ask(gateway, issuer.grant(opaque()))[0] == 200


def test_a_gateway_that_ends_says_nothing_of_connections_it_kept(start, endpoint):
    endpoint.reply(Kept(GOOD))
    gateway = start(endpoint.target + INTROSPECT)
    assert ask(gateway)[0] == 200
    gateway.stop()
    assert "Unclosed" not in gateway.output
    assert "Traceback" not in gateway.output


def test_over_http2(start_gateway, upstream, issuer):
    gateway = start_gateway(policy=demo_policy(upstream.target), args=("--http2",))
    add_issuer(gateway, "as", issuer.url)
    token = issuer.grant(opaque())
    authority = f"{gateway.host}:{gateway.port}"
    with Http2Client(gateway.address) as client:
        good = client.open(head(PAGE, "GET", ("authorization", f"Bearer {token}"), authority=authority), end=True)
        bad = client.open(head(PAGE, "GET", ("authorization", "Bearer made-up"), authority=authority), end=True)
        assert client.wait_for(lambda: {good, bad} <= client.ended)
        assert json.loads(client.answers[good]) == {"ok": True}
        assert json.loads(client.answers[bad])["reason"] == "token_inactive"


def test_where_it_is_may_be_unknown_for_a_while(start_gateway, upstream, issuer):
    issuer.answers[DISCOVERY] = issuer.answers["/.well-known/oauth-authorization-server"] = lambda _: Reply(503)
    gateway = start_gateway(policy=demo_policy(upstream.target))
    add_issuer(gateway, "as", issuer.url)
    token = issuer.grant(opaque())
    assert [ask(gateway, token)[0] for _ in range(8)] == [503] * 8
    assert len(issuer.seen) == 2
    assert is_logged(gateway, "the discovery document answered with status 503")
    del issuer.answers[DISCOVERY]
    time.sleep(5.2)
    assert ask(gateway, token)[0] == 200


@pytest.mark.parametrize(
    "endpoint", ["http://10.0.0.1/introspect", "https://localhost@x.example/", 7, "", "/introspect"]
)
def test_where_it_says_it_is_must_be_such_an_address(start_gateway, upstream, issuer, endpoint):
    issuer.metadata = {"introspection_endpoint": endpoint}
    gateway = start_gateway(policy=demo_policy(upstream.target))
    add_issuer(gateway, "as", issuer.url)
    assert ask(gateway)[0] == 503
    assert is_logged(gateway, "introspection_endpoint")
