"""Random requests against the running gateway: what it forwards was decided, and is what was decided."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h11
import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.authgate.wire.test_random_targets import PIECES
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.neighbours import IDENTITY, OURS, careless_readings, neighbour_policy
from tests.support.upstream import RecordedRequest, RecordingUpstream

bounded = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def gate(gateway_template: Path, session_upstream: RecordingUpstream, tmp_path_factory) -> Iterator[Gateway]:
    data = tmp_path_factory.mktemp("properties") / "data"
    with Gateway(data, template=gateway_template, policy=neighbour_policy(session_upstream.target)) as gateway:
        yield gateway.start()


def assert_decided(gateway: Gateway, requests: list[RecordedRequest]) -> None:
    """Each request at the upstream is one allowed line of the log, with the very path that was forwarded."""
    expected = {request.header("x-request-id"): request for request in requests}
    assert len(expected) == len(requests)
    last = requests[-1].header("x-request-id")
    gateway.log_lines(wait_for=1, request_id=last)  # lines are written together, the last one last
    allowed = {line["request_id"]: line for line in gateway.log_lines(decision="allow")}
    for request_id, request in expected.items():
        line, path = allowed[request_id], request.path.decode("ascii")
        prefix = request.header("x-forwarded-prefix") or ""
        assert line["path"] in ((prefix + path, prefix) if path == "/" else (prefix + path,))
        assert line["method"] == request.method
        assert_open(line["path"], line["route"])


def assert_open(path: str, route: str) -> None:
    """Nobody proved anything in these tests, so no reading of the path may lead to what is protected."""
    assert route in ("open", "strip", "pass", "preserve", "read", "exact")
    for reading in careless_readings(path):
        assert not any(f"{reading}/".startswith(f"{prefix}/admin/") for prefix in ("/open", "/strip")), reading
        assert f"{reading}/".startswith(("/open/", "/strip/", "/pass/", "/preserve/", "/things/", "/exact/")), reading


# --- targets ---------------------------------------------------------------------------------------------

PREFIXES = (
    b"/open",
    b"/open/",
    b"/strip",
    b"/strip/",
    b"/open/admin",
    b"/strip/admin",
    b"/preserve/",
    b"",
    b"/",
    b"//",
)
QUERIES = (b"", b"?", b"?a=/../..", b"?a=%2e%2e", b"??", b"?a#b", b"?\xc3")
targets = st.builds(
    lambda prefix, parts, query: (prefix + b"".join(parts) + query).replace(b"\r\n", b"\r"),
    st.sampled_from(PREFIXES),
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=2), max_size=6),
    st.sampled_from(QUERIES),
)


def test_a_random_target_is_refused_or_forwarded_as_decided(gate, upstream):
    @bounded
    @given(targets)
    def probe(target: bytes) -> None:
        with gate.connect() as client:
            client.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            response = client.response()
            # 301: "/admin" without its slash is a page of the gateway's own.
            assert response.status in (200, 301, 400, 401, 404, 405, 414), response.raw_head
            assert client.is_closed()

    probe()
    assert len(upstream.requests) > 5, "nothing was forwarded: the targets are too strange to prove anything"
    assert_decided(gate, upstream.requests)


# --- headers ---------------------------------------------------------------------------------------------

NAMES = (
    *OURS, "cookie", "authorization", "connection", "content-length", "transfer-encoding", "expect", "upgrade", "te",
    "x-original-url", "x-http-method-override", "forwarded", "accept", "x-anything", "origin", "sec-fetch-site",
)  # fmt: skip
VALUES = (
    "planted",
    '["admin"]',
    "auth_token=planted",
    "a=b; auth_token=planted; c=d",
    "close, x-auth-user-id",
    "",
    "0",
    "5",
)


@st.composite
def names(draw: Callable[..., Any]) -> str:
    name = draw(st.sampled_from(NAMES))
    letters = [draw(st.sampled_from((char, char, char.upper(), "_" if char == "-" else char))) for char in name]
    return "".join(letters) + draw(st.sampled_from(("", "", "", "", " ", ".", "\t", "_", "\x0b")))


values = st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=12)
header_sets = st.lists(st.tuples(names(), values), max_size=8)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "DELETE")


@pytest.mark.parametrize("subject", ["", "alice"], ids=["stranger", "known"])
def test_random_headers_never_name_another_caller(gate, upstream, subject):
    credential = [("Authorization", f"Bearer {gate.mint(subject)}")] if subject else []
    target = "/session/x" if subject else "/open/x"

    @bounded
    @given(header_sets, st.sampled_from(METHODS))
    def probe(headers: list[tuple[str, str]], method: str) -> None:
        data = raw.request(method, target, [*credential, ("Connection", "close"), *headers])
        with gate.connect() as client:
            client.send(data)
            status = _wait_for_answer(client)
            assert status < 500 or status == 501  # an Upgrade

    probe()
    assert len(upstream.requests) > 5
    for request in upstream.requests:
        sent = [name for name, _ in request.headers]
        assert [sent.count(name.encode()) for name in OURS] == [1] * len(OURS)
        assert not [name for name in sent if name.strip(b"abcdefghijklmnopqrstuvwxyz0123456789-")]
        assert request.header("x-auth-user-id") == subject
        assert not [name for name in IDENTITY if "planted" in (request.header(name) or "")]
        assert not [value for value in request.all("cookie") if "auth_token=" in value.replace(" ", "")[:11]]
        assert "authorization" not in sent


def _wait_for_answer(client: raw.RawClient) -> int:
    """Its status; 0 when the gateway still waits for a body that was announced and never sent."""
    if not select.select([client.socket], [], [], 0.25)[0]:
        return 0
    status = client.read_head().status
    return 0 if status == 100 else status


# --- whole requests --------------------------------------------------------------------------------------

LINES = (
    b"GET /open/a HTTP/1.1", b"POST /open/b HTTP/1.1", b"POST /strip/c HTTP/1.0", b"GET /open/admin HTTP/1.1",
    b"HEAD /open/d HTTP/1.1", b"PUT http://localhost/open/e HTTP/1.1", b"GET  /open/f HTTP/1.1",
    b"GET /open/g HTTP/1.2",
)  # fmt: skip
FIELDS = (
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 5, 5", b"content-length: 05", b"Content-Length:5 ",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding : x", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: \x0bchunked", b" folded: x",
    b"Host: other", b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"Upgrade: h2c",
    b"X: \x00", b"X: \x80", b"X", b"X: a\nY: b",
    b"X: a\rY: b", b"Trailer: X-Auth-User-ID",
)  # fmt: skip
BODIES = (
    b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n00\r\n\r\n", b"0\r\n\r\n", b"0\r\nHost: x\r\n\r\n",
    b"5\r\nhelloX0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"\r\n", b"hellohello",
)  # fmt: skip
messages = st.builds(
    lambda line, fields, body: b"\r\n".join((line, b"Host: localhost", *fields, b"", b"")) + body,
    st.sampled_from(LINES),
    st.lists(st.sampled_from(FIELDS), max_size=2),
    st.sampled_from(BODIES),
)
streams = st.builds(
    lambda parts, junk: b"".join(parts) + junk,
    st.lists(messages, min_size=1, max_size=3),
    st.just(b"") | st.binary(max_size=9),
)


def test_random_bytes_are_never_forwarded_undecided(gate, upstream):
    @bounded
    @given(streams)
    def probe(data: bytes) -> None:
        before = len(upstream.requests)
        with gate.connect() as client:
            client.send(data)
            statuses = _read_answers(client)
        assert not [status for status in statuses if status >= 500 and status != 505], statuses
        forwarded = upstream.requests[before:]
        assert_same_messages(forwarded, *_by_h11(data))
        assert_same_messages(forwarded, *_by_gunicorn(data))

    probe()
    assert len(upstream.requests) > 20
    assert_decided(gate, upstream.requests)


Messages = list[tuple[str, bytes]]


def assert_same_messages(forwarded: list[RecordedRequest], read: Messages, failed: bool) -> None:
    """Another parser finds the same messages in the bytes, or the gateway took fewer, or the parser gave up earlier."""
    complete = [(request.method, bytes(request.body)) for request in forwarded if request.complete]
    remaining = iter(read)
    unknown = [message for message in complete if message not in remaining]
    assert not unknown or (failed and complete[: len(complete) - len(unknown)] + unknown == complete), (complete, read)


def _read_answers(client: raw.RawClient) -> list[int]:
    received = b""
    while select.select([client.socket], [], [], 0.1)[0]:
        data = client.socket.recv(65536)
        if not data:
            break
        received += data
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def _by_h11(data: bytes) -> tuple[Messages, bool]:
    connection, found = h11.Connection(h11.SERVER), []
    connection.receive_data(data)
    method, body = "", b""
    try:
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                method, body = event.method.decode(), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, body))
                connection.send(h11.Response(status_code=204, headers=[]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return found, True
    return found, False


def _by_gunicorn(data: bytes) -> tuple[Messages, bool]:
    found = []
    try:
        for request in RequestParser(Config(), iter([data]), ("127.0.0.1", 1)):
            found.append((request.method, request.body.read()))
    except (ParseException, OSError, StopIteration):
        return found, True
    return found, False
