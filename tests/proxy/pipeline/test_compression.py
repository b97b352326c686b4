"""Responses in gzip: only where client and service are for it, and never where it could tell a secret."""

from __future__ import annotations

import gzip
import os
import time
import zlib

import pytest

from authgate.wire.headers import Headers
from proxy.pipeline.compression import _takes_gzip
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.scripted import answer

POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}}
routes:
  - {name: gzip,  path: /gzip,  access: public, upstream: api, compress: true}
  - {name: plain, path: /plain, access: public, upstream: api}
"""
TEXT = b"the same again, " * 1000
ACCEPT = [("Accept-Encoding", "gzip, deflate, br")]
HTML = "Content-Type: text/html; charset=utf-8"


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("gzip") / "data"
    with Gateway(
        data, template=gateway_template, policy=POLICY % session_upstream.target, args=request.param
    ) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def ask(site, upstream, *fields, body=TEXT, path="/gzip/x", headers=ACCEPT, **options):
    upstream.reply(answer(*(fields or (HTML,)), body=body, **options))
    return site.get(path, headers=headers)


def test_a_response_is_compressed(site, upstream):
    response = ask(site, upstream, HTML, 'ETag: "v1"', "Accept-Ranges: bytes", "Vary: Cookie")
    assert response.header("content-encoding") == "gzip"
    assert gzip.decompress(response.body) == TEXT
    assert len(response.body) < len(TEXT) / 10
    assert (response.header("etag"), response.header("accept-ranges")) == ('W/"v1"', None)
    assert response.all("vary") == ["Cookie", "Accept-Encoding"]
    assert response.header("content-length") in (None, str(len(response.body)))


@pytest.mark.parametrize("framed", [["Transfer-Encoding: chunked"], []], ids=["chunked", "until close"])
def test_one_of_unknown_length(site, upstream, framed):
    body = raw.chunked(*[TEXT] * 20) if framed else TEXT * 20
    response = ask(site, upstream, HTML, *framed, body=body, length=False)
    assert gzip.decompress(response.body) == TEXT * 20


def test_what_cannot_be_made_shorter_comes_whole(site, upstream):
    noise = os.urandom(1_000_000)
    assert gzip.decompress(ask(site, upstream, "Content-Type: text/plain", body=noise).body) == noise


LEFT_ALONE = {
    "coded already": [HTML, "Content-Encoding: br"],
    "no-transform": [HTML, "Cache-Control: public, No-Transform"],
    "a cookie": [HTML, "Set-Cookie: a=b"],
    "a digest": [HTML, "Content-Digest: sha-256=:x:"],
    "a picture": ["Content-Type: image/png"],
    "an event stream": ["Content-Type: text/event-stream"],
    "no type": ["X-A: b"],
    "two types": [HTML, HTML],
    "a piece": [HTML, "Content-Range: bytes 0-1/2"],
}


@pytest.mark.parametrize("fields", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_what_is_left_alone(site, upstream, fields):
    response = ask(site, upstream, *fields)
    assert (response.body, response.header("content-length")) == (TEXT, str(len(TEXT)))
    assert "gzip" not in response.all("content-encoding")


def test_short_ones_are_left_alone(site, upstream):
    response = ask(site, upstream, body=b"x" * 859)
    assert (response.body, response.header("content-encoding")) == (b"x" * 859, None)
    assert response.header("vary") == "Accept-Encoding"


@pytest.mark.parametrize("status", ["206 Partial Content", "304 Not Modified", "204 No Content"])
def test_statuses_that_are_left_alone(site, upstream, status):
    body = TEXT if status.startswith("206") else b""
    response = ask(site, upstream, HTML, body=body, status=status, length=bool(body))
    assert (response.status, response.header("content-encoding"), response.body) == (int(status[:3]), None, body)


@pytest.mark.parametrize("headers", [[], [("Accept-Encoding", "br")], [("Accept-Encoding", "gzip;q=0")]])
def test_a_client_that_does_not_take_it(site, upstream, headers):
    response = ask(site, upstream, headers=headers)
    assert (response.body, response.header("vary")) == (TEXT, "Accept-Encoding")


@pytest.mark.parametrize("where", ["cross-site", "same-site", "anything"])
def test_no_other_site_learns_a_length(site, upstream, where):
    response = ask(site, upstream, headers=[*ACCEPT, ("Sec-Fetch-Site", where)])
    assert response.header("content-encoding") is None
    response = ask(site, upstream, headers=[*ACCEPT, ("Sec-Fetch-Site", "same-origin")])
    assert response.header("content-encoding") == "gzip"


def test_head_has_no_coding(site, upstream):
    upstream.reply(answer(HTML, f"Content-Length: {len(TEXT)}"))
    response = site.request("/gzip/x", method="HEAD", headers=ACCEPT)
    assert (response.header("content-encoding"), response.header("content-length")) == (None, str(len(TEXT)))


def test_other_routes_are_left_alone(site, upstream):
    response = ask(site, upstream, path="/plain/x")
    assert (response.body, response.header("vary")) == (TEXT, None)


def test_pieces_come_as_the_service_sends_them(site, upstream):
    def slowly(connection, request):
        connection.send(f"HTTP/1.1 200 OK\r\n{HTML}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        connection.send(b"5\r\nfirst\r\n")
        connection.wait_closed(3)

    upstream.reply(slowly, path="/gzip/slow")
    reader = zlib.decompressobj(31)
    with site.connect() as client:
        client.send(raw.request("GET", "/gzip/slow", ACCEPT, host=f"localhost:{site.port}"))
        came, deadline = b"", time.monotonic() + 2
        while b"\r\n\r\n" not in came or not came.partition(b"\r\n\r\n")[2]:
            came += client.socket.recv(65536)
            assert time.monotonic() < deadline
        body = came.partition(b"\r\n\r\n")[2]
        assert reader.decompress(body.partition(b"\r\n")[2]) == b"first"


def test_a_response_that_breaks_off_is_cut(site, upstream):
    def breaks(connection, request):
        connection.send(f"HTTP/1.1 200 OK\r\n{HTML}\r\nContent-Length: 100000\r\n\r\n".encode() + TEXT)
        connection.close()

    upstream.reply(breaks, path="/gzip/broken")
    with pytest.raises(raw.Truncated):
        site.get("/gzip/broken", headers=ACCEPT)


@pytest.mark.parametrize(
    ("values", "takes"),
    [
        (["gzip"], True), (["GZIP"], True), (["br, gzip;q=0.5"], True), (["br", "gzip"], True), (["*"], True),
        (["*;q=0"], False), (["gzip;q=0, *"], False), (["gzip; q=0.000"], False), (["gzip;q=1.0"], True),
        (["identity"], False), ([""], False), ([], False), (["x-gzip"], False), (["gzip;q=0.001"], True),
    ],
)  # fmt: skip
def test_what_an_accept_encoding_takes(values, takes):
    assert _takes_gzip(Headers([(b"accept-encoding", value.encode()) for value in values])) is takes
