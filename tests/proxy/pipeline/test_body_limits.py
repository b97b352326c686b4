"""The largest body of a route, announced or not, and the time for a request and its whole response."""

from __future__ import annotations

import time

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.http2 import Http2Client, head
from tests.support.scripted import answer
from tests.support.upstream import OK

POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}, one: {targets: ["%s"], connections: 1}, two: {targets: ["%s", "%s"]}}
routes:
  - {name: small, path: /small, access: public, upstream: api, max_body: 1000}
  - {name: none, path: /none, access: public, upstream: api, max_body: 0}
  - {name: free, path: /free, access: public, upstream: api}
  - {name: mcp, path: /mcp, access: public, upstream: api, max_body: 10, mcp: true}
  - {name: quick, path: /quick, access: public, upstream: two, timeouts: {total: 0.5}}
  - {name: full, path: /full, access: public, upstream: one, timeouts: {total: 1}}
"""


def policy_for(target):
    return POLICY % (target, target, target, target.replace("127.0.0.1", "localhost"))


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("body") / "data"
    with Gateway(
        data, template=gateway_template, policy=policy_for(session_upstream.target), args=request.param
    ) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def post(site, body, path="/small/x", headers=()):
    return site.request(path, method="POST", headers=headers, body=body)


CHUNKED = ("Transfer-Encoding", "chunked")


@pytest.mark.parametrize("keeps", [False, True], ids=["new", "kept"])
def test_up_to_the_limit_it_passes(site, upstream, keeps):
    if keeps:
        site.get("/free/x")
    assert post(site, b"x" * 1000).status == 200
    assert post(site, raw.chunked(b"x" * 600, b"x" * 400), headers=[CHUNKED]).status == 200
    assert [request.body_length for request in upstream.requests][-2:] == [1000, 1000]


@pytest.mark.parametrize("keeps", [False, True], ids=["new", "kept"])
def test_one_byte_more_is_refused_before_the_service_sees_it(site, upstream, keeps):
    if keeps:
        site.get("/free/x")
        upstream.requests.clear()
    response = post(site, b"x" * 1001)
    assert (response.status, response.json()["reason"], upstream.requests) == (413, "body_too_large", [])


def test_what_is_announced_is_not_waited_for(site, upstream):
    with site.connect() as client:
        client.send(raw.request("POST", "/small/x", [("Content-Length", "9999999"), ("Expect", "100-continue")]))
        response = client.response("POST")
    assert (response.status, response.interim, upstream.requests) == (413, [], [])


def test_no_body_at_all(site, upstream):
    assert (site.get("/none/x").status, post(site, b"", "/none/x").status, post(site, b"x", "/none/x").status) == (200, 200, 413)  # noqa: E501 # fmt: skip


def test_what_is_not_announced_is_counted(site, upstream):
    response = post(site, raw.chunked(b"x" * 600, b"x" * 401), headers=[CHUNKED])
    assert (response.status, response.json()["reason"]) == (413, "body_too_large")


def test_the_service_sees_a_request_that_breaks_off(site, upstream):
    with site.connect() as client:
        client.send(raw.request("POST", "/small/x", [CHUNKED]) + b"258\r\n" + b"x" * 600 + b"\r\n")
        upstream.wait(1)
        client.send(b"258\r\n" + b"x" * 600 + b"\r\n")
        response = client.response("POST")
        assert (response.status, client.is_closed()) == (413, True)
    seen = upstream.only
    time.sleep(0.2)
    assert (seen.complete, seen.body_length) == (False, 600)
    assert post(site, b"y" * 10).status == 200


def test_a_response_that_has_begun_is_cut(site, upstream):
    def early(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        connection.wait_closed()

    upstream.reply(early, path="/small/x")
    with site.connect() as client:
        client.send(raw.request("POST", "/small/x", [CHUNKED]) + b"258\r\n" + b"x" * 600 + b"\r\n")
        upstream.wait(1)
        time.sleep(0.2)
        client.send(b"258\r\n" + b"x" * 600 + b"\r\n")
        with pytest.raises(raw.Truncated):
            client.response("POST")
    assert site.log_lines(wait_for=1, cut="body_too_large")


def test_an_mcp_server_has_the_smaller_of_both(site, upstream):
    response = post(site, b'{"jsonrpc": "2.0"}', "/mcp/x", [("Content-Type", "application/json")])
    assert (response.status, upstream.requests) == (413, [])


def test_nor_is_an_unannounced_one_for_it_larger(site, upstream):
    headers = [("Content-Type", "application/json"), CHUNKED]
    response = post(site, raw.chunked(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'), "/mcp/x", headers)
    assert (response.status, response.json()["reason"], upstream.requests) == (413, "body_too_large", [])


@pytest.mark.parametrize("keeps", [False, True], ids=["new", "kept"])
def test_a_second_try_has_no_time_of_its_own(site, upstream, keeps):
    if keeps:
        site.get("/free/x")
    upstream.reply(lambda connection, request: connection.wait_closed(), path="/quick/x")
    began = time.monotonic()
    response = site.get("/quick/x")
    assert (response.status, response.json()["reason"]) == (504, "upstream_timeout")
    assert time.monotonic() - began < 0.95


def test_nor_has_the_wait_for_a_connection(site, upstream):
    upstream.reply(lambda connection, request: connection.wait_closed(), path="/full/x")
    with site.connect() as first:
        first.send(raw.request("GET", "/full/x", host=f"localhost:{site.port}"))
        upstream.wait(1)
        began = time.monotonic()
        response = site.get("/full/x")
    assert (response.status, time.monotonic() - began < 1.5) == (504, True)


def test_nor_has_a_client_that_stops_sending(site, upstream):
    with site.connect() as client:
        client.send(raw.request("POST", "/full/x", [CHUNKED], host=f"localhost:{site.port}") + b"1\r\nx\r\n")
        began = time.monotonic()
        response = client.response("POST")
    assert (response.status, time.monotonic() - began < 1.5) == (504, True)


def test_the_connection_serves_others_after_small_ones(site, upstream):
    upstream.reply(OK)
    with site.connect() as client:
        for _ in range(3):
            client.send(raw.request("POST", "/small/x", body=b"x" * 1000, host=f"localhost:{site.port}"))
            assert client.response("POST").status == 200


@pytest.mark.parametrize("site", [("--http2",)], ids=["asgi"], indirect=True)
def test_over_http2(site, upstream):
    with Http2Client(site.address) as client:
        opened = client.open(head("/small/x", "POST", authority=f"localhost:{site.port}"), end=False)
        client.send_body(opened, b"x" * 600)
        client.send_body(opened, b"x" * 600)
        client.finish(opened)
        assert client.wait_for(lambda: len(client.ended) == 1)
    assert b"body_too_large" in client.answers[opened]


def drips(connection, request):
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        for _ in range(50):
            connection.send(b"1\r\nx\r\n")
            time.sleep(0.1)
    except OSError:
        pass


def test_a_response_that_does_not_end_in_time_is_cut(site, upstream):
    upstream.reply(drips, path="/quick/x")
    begun = time.monotonic()
    with pytest.raises(raw.Truncated):
        site.get("/quick/x")
    assert 0.4 < time.monotonic() - begun < 2
    assert site.log_lines(wait_for=1, cut="upstream_timeout")


def test_one_that_does_not_begin_in_time_is_refused(site, upstream):
    upstream.reply(lambda connection, request: connection.wait_closed(), path="/quick/y")
    response = site.get("/quick/y")
    assert (response.status, response.json()["reason"]) == (504, "upstream_timeout")


def test_one_that_does_is_left_alone(site, upstream):
    upstream.reply(answer(body=b"x"), path="/quick/z")
    assert site.get("/quick/z").body == b"x"
