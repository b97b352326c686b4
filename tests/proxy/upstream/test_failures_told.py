"""What a service did wrong is one warning on standard error, and a response that was cut says so in the access log."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest

from tests.proxy.upstream.test_failures import Stubborn, refused_target
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.scripted import Script, ThenClose, answer, keep_connection
from tests.support.streams import wait_until

CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def telling(gateway_template, session_upstream, tmp_path_factory):
    dead, target = refused_target(), session_upstream.target
    policy = f"""\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
  refused: {{targets: ["{dead}"]}}
  half: {{targets: ["{dead}", "{target}"]}}
  none: {{targets: ["{dead}", "{refused_target()}"]}}
routes:
  - {{name: api, path: /api, access: public, upstream: api, timeouts: {{response: 0.6, idle: 0.6}}}}
  - {{name: refused, path: /refused, access: public, upstream: refused}}
  - {{name: half, path: /half, access: public, upstream: half}}
  - {{name: none, path: /none, access: public, upstream: none}}
"""
    data_dir = tmp_path_factory.mktemp("telling") / "data"
    # Each request comes from a client of its own, since lines are limited for each.
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1/32"}
    with Gateway(data_dir, template=gateway_template, policy=policy, env=env) as gateway:
        gateway.dead, gateway.target = dead, target  # type: ignore[attr-defined]
        yield gateway.start()
        assert "Traceback" not in gateway.output


@pytest.fixture(params=["new", "kept"])
def way(request, telling, upstream):
    if request.param == "kept":
        keep_connection(telling, upstream, "/api/warm")


clients = iter(f"10.{a}.{b}.1" for a in range(200) for b in range(200))


def ask(gateway, path, method="GET", body=None) -> None:
    headers = [("X-Forwarded-For", next(clients))]
    with suppress(raw.Truncated, ConnectionError):
        gateway.request(path, method=method, body=body, headers=headers)


def access_line(gateway, path):
    return gateway.log_lines(wait_for=1, path=path.partition("?")[0])[-1]


def warnings(gateway, path) -> list[str]:
    """Lines of standard error about the last request for this path; waits for the first."""
    wanted = access_line(gateway, path)["request_id"]

    def lines() -> list[str]:
        return [line for line in gateway.output.splitlines() if wanted in line and not line.startswith("{")]

    wait_until(lambda: bool(lines()), 1)
    return lines()


def told(gateway, path) -> str:
    """The only line, up to what was wrong; target and request are checked."""
    [line] = warnings(gateway, path)
    ids = r"\[request_id=\w{32} trace_id=\w{32}\]"
    wanted = rf".* WARNING proxy\.failures upstream (\w+), target (\S+): (\w+) (\S+): (.*) {ids}"
    match = re.fullmatch(wanted, line)
    assert match, line
    assert match[4] == path.partition("?")[0]
    return match[5]


ANSWERED = "; answered with upstream_broken"
BAD_HEADS = [
    ("folded", answer("X-Long: a-secret\r\n b", body=b"hi"), "header X-Long: folded over several lines (obs-fold)"),
    (
        "folded after a line without a colon", answer("Set-Cookie: a=1;", "a-secret\r\n b", body=b"hi"),
        "a header line without a colon, or a name with characters that no name may have",
    ),
    ("control", answer("X-Odd: a-secret\0", body=b"hi"), "header X-Odd: a control character in a header"),
    ("large", answer("X-Large: " + "v" * 70_000, body=b"hi"), "a response head of more than 65536 bytes"),
    ("many", answer(*["X: a-secret"] * 300, body=b"hi"), "more than 256 headers"),
    ("lengths", answer("Content-Length: 2", "Content-Length: 3", body=b"hi"), "two Content-Length headers"),
    (
        "both", answer(CHUNKED, "Content-Length: 2", body=raw.chunked(b"hi")),
        "both Transfer-Encoding and Content-Length",
    ),
    ("word", answer("Content-Length: a-secret", body=b"hi"), "a Content-Length that is no number"),
    ("digits", answer("Content-Length: " + "0" * 30 + "2", body=b"hi"), "a Content-Length of more than 18 digits"),
    ("coding", answer("Transfer-Encoding: gzip", body=b"hi"), "a Transfer-Encoding other than chunked"),
    ("old", answer(CHUNKED, version="HTTP/1.0"), "Transfer-Encoding in a response of HTTP/1.0"),
    ("status", answer(body=b"hi", status="2x0 OK"), "a bad status line: the status is no number of three digits"),
    ("high", answer(body=b"hi", status="700 OK"), "a bad status line: the status is above 599"),
    ("version", answer(body=b"hi", version="HTTP/3.7"), "an unknown HTTP version"),
    ("tls", b"\x15\x03\x01\x00\x02\x02\x46", "it speaks TLS: the target should begin with https://"),
    (
        "ssh", b"SSH-2.0-a-secret\r\n",
        "it does not begin with HTTP/: another protocol, or bytes left over from another response",
    ),
    (
        "upgrade", answer("Upgrade: x", "Connection: upgrade", status="101 Switching Protocols", length=False),
        "it switched protocols (101), which the request did not ask for",
    ),
    ("interim", answer("Content-Length: 2", status="103 Early Hints"), "an interim response (1xx) with a body"),
    ("lf", answer(body=b"hi").replace(b"\r\n", b"\n"), "a line that does not end with CR LF"),
]  # fmt: skip


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("reply", "what"), [pytest.param(*rest, id=name) for name, *rest in BAD_HEADS])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_bad_head_is_told_once_with_target_request_and_what_was_wrong(telling, upstream, reply, what, method):
    path = f"/api/head/{time.monotonic_ns()}"
    upstream.reply(Script(reply))
    ask(telling, f"{path}?password=a-secret", method, b"a-secret" if method == "POST" else None)
    assert told(telling, path) == what + ANSWERED
    [line] = warnings(telling, path)
    assert f"upstream api, target {telling.target}: {method} {path}: " in line
    assert "a-secret" not in line
    assert access_line(telling, path)["cut"] is None


CUT = [
    ("length", answer("Content-Length: 6", body=b"hello"), "closed the connection before the end of a body of 6 bytes"),
    ("no last chunk", answer(CHUNKED, body=b"5\r\nhello\r\n"), "closed the connection before the last chunk"),
    ("long chunk", answer(CHUNKED, body=b"5\r\nhelloX\r\n0\r\n\r\n"), "a bad chunk: longer than its size says"),
    ("size", answer(CHUNKED, body=b"5\r\nhello\r\nx\r\n"), "a bad chunk: its size is no hexadecimal number"),
    (
        "trailer", answer(CHUNKED, body=b"5\r\nhello\r\n0\r\nX: a\n\r\n"),
        "within the body or its trailers: a line that does not end with CR LF",
    ),
]  # fmt: skip


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("reply", "what"), [pytest.param(*rest, id=name) for name, *rest in CUT])
def test_a_body_that_breaks_off_is_told_and_its_access_line_says_cut(telling, upstream, reply, what):
    path = f"/api/cut/{time.monotonic_ns()}"
    head, _, body = reply.partition(b"\r\n\r\n")
    upstream.reply(ThenClose(head + b"\r\n\r\n" + body[:1], body[1:], delay=0.1))
    ask(telling, path)
    assert told(telling, path) == f"{what}; the response was cut"
    line = access_line(telling, path)
    assert (line["status"], line["cut"], line["reason"]) == (200, "upstream_broken", "public")


@pytest.mark.usefixtures("way")
def test_a_stream_that_idles_is_told_and_cut_in_the_access_line(telling, upstream):
    path = f"/api/idle/{time.monotonic_ns()}"
    upstream.reply(Script(answer(CHUNKED, body=b"5\r\nhello\r\n")))
    ask(telling, path)
    assert told(telling, path) == "sent nothing more of its response for 0.6 s (timeouts.idle); the response was cut"
    assert access_line(telling, path)["cut"] == "upstream_timeout"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["nothing", "half a head"])
def test_a_head_that_does_not_come_in_time_is_told(telling, upstream, words):
    path = f"/api/late/{time.monotonic_ns()}"
    upstream.reply(Script(words))
    ask(telling, path)
    what = "sent no whole response head within 0.6 s (timeouts.response); answered with upstream_timeout"
    assert told(telling, path) == what


def test_an_upload_that_the_service_does_not_take_is_told(telling, upstream):
    path = f"/api/stubborn/{time.monotonic_ns()}"
    upstream.reply(Stubborn())
    with telling.connect() as client:
        client.send(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n" % path.encode())
        client.socket.settimeout(0.2)
        with pytest.raises((TimeoutError, ConnectionError)):
            client.send(b"x" * (64 << 20))
        client.socket.settimeout(5)
        assert client.response().status == 504
    what = "took nothing of the request body for 0.6 s (timeouts.idle); answered with upstream_timeout"
    assert told(telling, path) == what


@pytest.mark.parametrize(
    ("words", "reset", "what"),
    [
        (b"", False, "closed the connection without an answer"),
        (b"", True, "reset the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: ", False, "closed the connection in the middle of the response head"),
    ],
)
def test_a_connection_that_ends_before_the_head_is_told(telling, upstream, words, reset, what):
    path = f"/api/ended/{time.monotonic_ns()}"
    upstream.reply(ThenClose(words, reset=reset))
    ask(telling, path, "POST", b"body")
    found = told(telling, path).replace(" that was kept from an earlier request,", "")
    assert found == what + ANSWERED


def test_a_refused_connection_names_target_and_request(telling):
    path = f"/refused/{time.monotonic_ns()}"
    ask(telling, path)
    assert told(telling, path) == "Connection refused; answered with upstream_unreachable"
    assert f"upstream refused, target {telling.dead}: GET" in warnings(telling, path)[0]


def test_a_target_that_another_one_stood_in_for_is_told(telling, upstream):
    lines = []
    for _ in range(2):
        path = f"/half/{time.monotonic_ns()}"
        ask(telling, path, "POST", b"x")
        assert access_line(telling, path)["status"] == 200
        lines += warnings(telling, path)
    assert len(lines) == 1
    assert f"target {telling.dead}: " in lines[0]
    assert "Connection refused; another target was asked" in lines[0]


@pytest.mark.usefixtures("way")
def test_a_body_longer_than_promised_is_told_and_the_response_is_whole(telling, upstream):
    path = f"/api/longer/{time.monotonic_ns()}"
    upstream.reply(Script(answer("Content-Length: 2", body=b"hi-a-secret")))
    ask(telling, path)
    assert told(telling, path) == "sent more than the response may have; the response was passed on without it"
    assert access_line(telling, path)["cut"] is None


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("leave", [raw.RawClient.close, raw.RawClient.reset], ids=["FIN", "RST"])
def test_a_client_that_leaves_is_no_fault_of_the_service(telling, upstream, leave):
    path = f"/api/left/{time.monotonic_ns()}"
    upstream.reply(script := Script(answer(CHUNKED, body=b"5\r\nhello\r\n"), *[b"1\r\nx\r\n"] * 20, delay=0.1))
    with telling.connect() as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
        assert client.read_head().status == 200
        time.sleep(0.3)
        leave(client)
    assert script.closed.wait(5)
    line = access_line(telling, path)
    assert (line["status"], line["cut"]) == (200, "client")
    assert [text for text in telling.output.splitlines() if line["request_id"] in text and text[0] != "{"] == []


def test_a_whole_response_and_an_early_answer_to_an_upload_are_not_told(telling, upstream):
    path = f"/api/early/{time.monotonic_ns()}"
    upstream.reply(Script(answer(body=b"no", status="413 Too Large"), read_body=False))
    with telling.connect() as client:
        client.send(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx" % path.encode())
        assert client.response().status == 413
    line = access_line(telling, path)
    assert line["cut"] is None
    time.sleep(0.2)
    assert telling.output.count(line["request_id"]) == 2  # its line in the access log, as both of its IDs


def test_one_client_of_a_broken_service_causes_ten_lines_at_once(start_gateway, upstream):
    gateway = start_gateway()
    upstream.reply(lambda connection, request: connection.send(b"nonsense\r\n\r\n"))
    for _ in range(40):
        assert gateway.get("/api/public/flood").status == 502
    gateway.log_lines(wait_for=40, path="/api/public/flood")
    assert 10 <= gateway.output.count("WARNING proxy.failures") <= 12


def test_http2_tells_and_marks_the_same(start_gateway, upstream):
    gateway = start_gateway(args=("--http2",))
    upstream.reply(Script(answer("X-Long: a\r\n b", body=b"hi")))
    ask(gateway, "/api/public/folded")
    assert told(gateway, "/api/public/folded") == "header X-Long: folded over several lines (obs-fold)" + ANSWERED
    upstream.reply(ThenClose(answer("Content-Length: 6", body=b"hello")))
    ask(gateway, "/api/public/cut")
    what = "closed the connection before the end of a body of 6 bytes; the response was cut"
    assert told(gateway, "/api/public/cut") == what
    assert access_line(gateway, "/api/public/cut")["cut"] == "upstream_broken"


def test_all_targets_are_tried_before_giving_up(telling):
    for _ in range(2):  # each of them first
        ask(telling, "/none")
        [line] = warnings(telling, "/none")
        targets = re.findall(r"http://127\.0\.0\.1:[0-9]+", line)
        assert (len(set(targets)), telling.dead in targets) == (2, True), line
