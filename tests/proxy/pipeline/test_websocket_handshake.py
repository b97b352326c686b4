"""Which handshakes become a tunnel: those that are whole, from our own pages, and accepted by the service."""

from __future__ import annotations

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
MCP_ROUTE = "  - {name: tools, path: /tools, access: public, upstream: api, mcp: true}\n"


def accepting(connection, request):
    connection.send(SWITCH)
    connection.wait_closed()


@pytest.fixture(scope="module")
def site(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("handshakes") / "data"
    policy = demo_policy(session_upstream.target) + MCP_ROUTE
    with Gateway(data_dir, template=gateway_template, policy=policy) as started:
        yield started.start()


def ask(site, headers, path="/api/public/x", method="GET", body=None):
    host = f"localhost:{site.port}"
    with site.connect() as client:
        client.send(raw.request(method, path, headers, body, host=host))
        head = client.read_head()
        reason = head.json()["reason"] if head.status != 101 and client._read_body(head, method) is None else None
        return head, reason


def test_the_service_gets_the_handshake_and_the_client_its_answer(site, upstream: RecordingUpstream):
    upstream.reply(accepting)
    headers = [*handshake(), ("Sec-WebSocket-Protocol", "chat"), ("Sec-WebSocket-Extensions", "permessage-deflate")]
    head, _ = ask(site, headers)
    assert (head.status, head.all("upgrade"), head.all("connection")) == (101, ["websocket"], ["Upgrade"])
    assert head.all("sec-websocket-accept") == [ACCEPT]
    assert head.all("transfer-encoding") + head.all("content-length") == []
    request = upstream.only
    assert (request.all("connection"), request.all("upgrade")) == (["Upgrade"], ["websocket"])
    for name, value in headers[2:]:
        assert request.all(name) == [value]


BAD = {
    "not GET": ({}, "POST", "a WebSocket begins with GET"),
    "no Connection": ({"Connection": ""}, "GET", "Connection does not name upgrade"),
    "Connection names another": ({"Connection": "keep-alive"}, "GET", "Connection does not name upgrade"),
    "a body": ({"Content-Length": "3"}, "GET", "it has a body"),
    "chunks": ({"Transfer-Encoding": "chunked"}, "GET", "it has a body"),
    "no version": ({"Sec-WebSocket-Version": ""}, "GET", "Sec-WebSocket-Version is not 13"),
    "version of a draft": ({"Sec-WebSocket-Version": "8"}, "GET", "Sec-WebSocket-Version is not 13"),
    "no key": ({"Sec-WebSocket-Key": ""}, "GET", "Sec-WebSocket-Key is not"),
    "a short key": ({"Sec-WebSocket-Key": "c2hvcnQ="}, "GET", "Sec-WebSocket-Key is not"),
    "a key with bits left over": ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZR=="}, "GET", "Sec-WebSocket-Key"),
}


@pytest.mark.parametrize(("changed", "method", "rule"), BAD.values(), ids=BAD)
def test_a_handshake_that_is_not_whole_is_refused(site, upstream, changed, method, rule):
    upstream.reply(accepting)
    headers = [pair for pair in {**dict(handshake()), **changed}.items() if pair[1]]
    with site.connect() as client:
        client.send(raw.request(method, "/api/public/bad", headers, host=f"localhost:{site.port}"))
        if "Content-Length" in changed:
            client.send(b"abc")
        elif "Transfer-Encoding" in changed:
            client.send(b"0\r\n\r\n")
        answer = client.response(method)
    assert (answer.status, answer.json()["reason"], upstream.requests) == (400, "bad_upgrade", [])
    assert site.log_lines(wait_for=1, request_id=answer.json()["request_id"])[0]["rule"].startswith(rule)


def test_two_keys_are_none(site, upstream):
    head, reason = ask(site, [*handshake(), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
    assert (head.status, reason, upstream.requests) == (400, "bad_upgrade", [])


@pytest.mark.parametrize("offer", ["h2c, websocket", "websocket, x", "WebSocket"])
def test_of_several_protocols_the_websocket_is_asked_for(site, upstream, offer):
    upstream.reply(accepting)
    head, _ = ask(site, handshake(Upgrade=offer))
    assert (head.status, upstream.only.all("upgrade")) == (101, ["websocket"])


@pytest.mark.parametrize("offer", ["SPDY/3.1", "tcp", "websockets"])
def test_no_other_protocol_is_carried(site, upstream, offer):
    head, reason = ask(site, handshake(Upgrade=offer))
    assert (head.status, reason, upstream.requests) == (501, "upgrade_not_supported", [])


def test_http_1_0_knows_no_upgrade(site, upstream):
    request = raw.request("GET", "/api/public/x", handshake(), host=f"localhost:{site.port}")
    answer = site.send(request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert (answer.status, answer.json()["reason"], upstream.requests) == (501, "upgrade_not_supported", [])


def test_no_websocket_leads_past_the_rules_on_tools(site, upstream):
    head, reason = ask(site, handshake(), path="/tools/x")
    assert (head.status, reason, upstream.requests) == (501, "upgrade_not_supported", [])


# -- from whose pages -------------------------------------------------------------------------------------------

ORIGINS = {
    "our own": ("http://localhost:{port}", 101),
    "another port": ("http://localhost:1", 403),
    "another scheme": ("https://localhost:{port}", 403),
    "a name that ends alike": ("http://evil-localhost:{port}", 403),
    "null": ("null", 403),
    "none": ("", 403),
}


@pytest.mark.parametrize(("origin", "status"), ORIGINS.values(), ids=ORIGINS)
def test_a_session_counts_only_from_a_page_of_our_own(site, upstream, origin, status):
    upstream.reply(accepting)
    session = make_session(site, "eve", slug="main", provider={"issuer": "https://id.example.com"})
    headers = [*handshake(Origin=origin.format(port=site.port)), *session.headers]
    head, reason = ask(site, headers, "/api/protected/x")
    assert (head.status, reason) == (status, None if status == 101 else "cross_site")
    assert len(upstream.requests) == (status == 101)


@pytest.mark.parametrize(("site_header", "status"), [("same-origin", 101), ("same-site", 403), ("cross-site", 403)])
def test_fetch_metadata_counts_before_the_origin(site, upstream, site_header, status):
    upstream.reply(accepting)
    session = make_session(site, "eve", slug="main", provider={"issuer": "https://id.example.com"})
    headers = [*handshake(Origin="http://elsewhere.example", Sec_Fetch_Site=site_header), *session.headers]
    assert ask(site, headers, "/api/protected/x")[0].status == status


def test_a_bearer_token_is_sent_on_purpose_from_wherever(site, upstream):
    upstream.reply(accepting)
    token = ("Authorization", f"Bearer {site.mint('machine')}")
    head, _ = ask(site, [*handshake(Origin="http://elsewhere.example"), token], "/api/protected/x")
    assert head.status == 101


def test_on_a_public_route_a_page_of_another_site_is_nobody(site, upstream):
    upstream.reply(accepting)
    session = make_session(site, "eve", slug="main", provider={"issuer": "https://id.example.com"})
    head, _ = ask(site, [*handshake(Origin="http://elsewhere.example"), *session.headers])
    assert (head.status, upstream.only.header("X-Auth-User-ID")) == (101, "")


# -- what the service answers -----------------------------------------------------------------------------------

ANSWERS = {
    "another key's answer": SWITCH.replace(ACCEPT.encode(), b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "no Accept": SWITCH.replace(f"Sec-WebSocket-Accept: {ACCEPT}\r\n".encode(), b""),
    "two Accepts": SWITCH.replace(b"\r\n\r\n", f"\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode()),
    "another protocol": SWITCH.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    "no Upgrade": SWITCH.replace(b"Upgrade: websocket\r\n", b""),
    "no Connection": SWITCH.replace(b"Connection: Upgrade\r\n", b""),
    "a length": SWITCH.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"),
    "chunks": SWITCH.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_101_that_accepts_nothing_is_no_tunnel(site, upstream, answer):
    upstream.reply(answer)
    head, reason = ask(site, handshake())
    assert (head.status, reason) == (502, "upstream_broken")


def test_a_200_is_an_answer_whatever_it_says_of_an_upgrade(site, upstream):
    upstream.reply(b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok")
    answer = site.send(raw.request("GET", "/api/public/x", handshake(), host=f"localhost:{site.port}"))
    assert (answer.status, answer.body, answer.all("upgrade")) == (200, b"ok", [])


def test_a_101_that_nobody_asked_for_is_no_tunnel(site, upstream):
    upstream.reply(SWITCH)
    assert site.get("/api/public/x").status == 502


def test_the_services_cookies_pass_and_ours_do_not(site, upstream):
    ours = b"Set-Cookie: auth_token=forged; Path=/\r\n"
    upstream.reply(SWITCH.replace(b"\r\n\r\n", b"\r\nSet-Cookie: theirs=1; Path=/\r\n" + ours + b"\r\n"))
    head, _ = ask(site, handshake())
    assert (head.status, len(head.all("set-cookie"))) == (101, 1)
    assert head.header("set-cookie").startswith("theirs=1")
