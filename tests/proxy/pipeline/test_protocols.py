"""What is built upon HTTP passes as it is: WebDAV, ranges, resumable uploads, gRPC-Web, long polling, old clients."""

from __future__ import annotations

import threading
import time

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy

WEBDAV = ["PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "MKCALENDAR", "ACL"]


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["http1", "http2"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("protocols") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, args=request.param) as started:
        yield started.start()


def answer(*headers, status="200 OK", body=b""):
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("method", WEBDAV)
def test_methods_of_webdav(site, upstream, method):
    multistatus = b"<multistatus/>"
    upstream.reply(answer("Content-Type: application/xml", "DAV: 1, 2", status="207 Multi-Status", body=multistatus))
    headers = [("Depth", "1"), ("If", "(<urn:x>)"), ("Overwrite", "F"), ("Timeout", "Second-3600")]
    found = site.request("/api/public/dir", method=method, headers=headers, body=b"<propfind/>")
    assert (found.status, found.body, found.header("dav")) == (207, multistatus, "1, 2")
    request = upstream.only
    assert (request.method, bytes(request.body)) == (method, b"<propfind/>")
    assert [(name, request.header(name)) for name, _ in headers] == headers


RANGES = {
    "a part": ([("Range", "bytes=0-3")], "206 Partial Content", ["Content-Range: bytes 0-3/10"], b"0123"),
    "if it is the same": (
        [("Range", "bytes=4-"), ("If-Range", '"v1"')], "206 Partial Content", ["Content-Range: bytes 4-9/10"], b"4567",
    ),
    "two parts": (
        [("Range", "bytes=0-0,9-9")], "206 Partial Content", ["Content-Type: multipart/byteranges; boundary=x"], b"--x",
    ),
    "beyond": ([("Range", "bytes=99-")], "416 Range Not Satisfiable", ["Content-Range: bytes */10"], b""),
    "not changed": ([("If-None-Match", '"v1"')], "304 Not Modified", ['ETag: "v1"'], b""),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "status", "lines", "body"), RANGES.values(), ids=RANGES)
def test_ranges_and_conditions(site, upstream, headers, status, lines, body):
    length = [] if status.startswith("304") else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "Accept-Ranges: bytes", *length, "", ""])
    upstream.reply(head.encode() + body)
    found = site.get("/api/public/file", headers=headers)
    assert (found.status, found.body) == (int(status[:3]), body)
    name, _, value = lines[0].partition(": ")
    assert found.header(name) == value
    assert [(name, upstream.only.header(name)) for name, _ in headers] == headers


def test_the_length_of_what_head_would_get(site, upstream):
    upstream.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 123456789\r\nAccept-Ranges: bytes\r\n\r\n")
    found = site.request("/api/public/file", method="HEAD")
    assert (found.status, found.header("content-length"), found.body) == (200, "123456789", b"")


def test_an_upload_that_is_resumed(site, upstream):
    """As tus and container registries do it."""
    upstream.reply(answer("Upload-Offset: 5", "Location: /api/public/files/1", status="201 Created"))
    site.request("/api/public/files", method="POST", headers=[("Upload-Length", "10"), ("Tus-Resumable", "1.0.0")])
    upstream.reply(
        answer("Upload-Offset: 10", "Range: 0-9", status="204 No Content").replace(b"Content-Length: 0\r\n", b"")
    )
    headers = [("Upload-Offset", "5"), ("Content-Range", "5-9"), ("Content-Type", "application/offset+octet-stream")]
    with site.connect() as client:
        sized = [*headers, ("Content-Length", "5"), ("Expect", "100-continue")]
        client.send(raw.request("PATCH", "/api/public/files/1", sized, host=f"localhost:{site.port}"))
        assert client.read_head().status == 100
        client.send(b"56789")
        found = client.response("PATCH")
    assert (found.status, found.header("upload-offset"), found.header("range")) == (204, "10", "0-9")
    request = upstream.requests[-1]
    assert (request.method, bytes(request.body)) == ("PATCH", b"56789")
    assert [(name, request.header(name)) for name, _ in headers] == headers


def test_grpc_web_message_by_message(site, upstream):
    more = threading.Event()
    first, trailer = b"\x00\x00\x00\x00\x02hi", b"\x80\x00\x00\x00\x0fgrpc-status:0\r\n"

    def reply(connection, request):
        connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.send(b"%x\r\n%b\r\n" % (len(first), first))
        more.wait(10)
        connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(trailer), trailer))

    upstream.reply(reply)
    headers = [("Content-Type", "application/grpc-web+proto"), ("X-Grpc-Web", "1"), ("Content-Length", "7")]
    with site.connect() as client:
        client.send(raw.request("POST", "/api/public/svc/Method", headers, host=f"localhost:{site.port}") + first)
        assert client.read_head().header("content-type") == "application/grpc-web+proto"
        assert client.read_chunk() == first  # before the service has said more
        more.set()
        assert client.read_chunk() == trailer
    assert upstream.only.header("x-grpc-web") == "1"


def test_a_long_poll_waits_for_its_answer(site, upstream):
    def reply(connection, request):
        time.sleep(1.5)
        connection.send(answer(body=b"news"))

    upstream.reply(reply)
    assert site.get("/api/public/poll").body == b"news"


def test_an_old_client_gets_a_body_that_ends_with_its_connection(site, upstream):
    upstream.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nold\r\n0\r\n\r\n")
    request = raw.request("GET", "/api/public/x", host=f"localhost:{site.port}").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with site.connect() as client:
        found = client.send(request).read_head()
        assert (found.status, found.all("transfer-encoding")) == (200, [])
        assert client.read_all() == b"old"
