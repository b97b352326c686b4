"""Targets, hosts, methods, expectations and sizes: what a request head may say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import raw
from tests.support.echo_app import EchoServer

KIB = 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    with EchoServer(tmp_path_factory.mktemp("echo")) as server:
        yield server


def reason_of(server: EchoServer, data: bytes) -> tuple[int, str]:
    """Status and reason of the refusal, which must end the connection."""
    with server.connect() as client:
        client.send(data)
        response = client.response()
        assert response.header("connection") == "close"
        assert response.header("server") is None
        assert client.is_closed()
    return response.status, response.json()["reason"]


def get(target: bytes, host: bytes = b"a.example", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


BAD_TARGETS = (
    b"*", b"foo/bar", b"a.example:80", b"/a#b", b"/#", b"/?a#b", b"http://evil.example/", b"http://a.example:81/",
    b"http://a.example@evil.example/", b"http://user@a.example/", b"http:///x", b"http://a.example#x",
    b"ftp://a.example/x",
    b"http:/a.example/", b"http://a.example\\@evil.example/", b"/\x80", b"/\xc3\xa9", b"/a\tb", b"/a\0b",
    b"/a\x7fb", b"/?\xe9",
)  # fmt: skip


@pytest.mark.parametrize("target", BAD_TARGETS, ids=repr)
def test_a_doubtful_target_is_refused(server: EchoServer, target: bytes) -> None:
    status, reason = reason_of(server, get(target))
    assert status == 400
    assert reason in ("bad_target", "bad_request")


def test_options_of_the_server_itself_is_refused(server: EchoServer) -> None:
    assert reason_of(server, get(b"*", method=b"OPTIONS")) == (400, "bad_target")


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "query"),
    [
        (b"/", "/", "/", ""),
        (b"/a/b?c=d", "/a/b", "/a/b", "c=d"),
        (b"/a?b?c", "/a", "/a", "b?c"),
        (b"/a?", "/a", "/a", ""),
        (b"/%41%2F%C3%A9", "/%41%2F%C3%A9", "/A/é", ""),
        (b"//evil.example/x", "//evil.example/x", "//evil.example/x", ""),
        (b"/http://x/", "/http://x/", "/http://x/", ""),
        (b"http://a.example", "/", "/", ""),
        (b"http://a.example?q", "/", "/", "q"),
        (b"HTTP://A.Example/x?q", "/x", "/x", "q"),
        (b"https://a.example/x", "/x", "/x", ""),
    ],
    ids=lambda value: repr(value) if isinstance(value, bytes) else None,
)  # fmt: skip
def test_the_application_gets_the_target_in_origin_form(
    server: EchoServer, target: bytes, raw_path: str, path: str, query: str
) -> None:
    seen = server.send(get(target)).json()
    assert (seen["raw_path"], seen["path"], seen["query"]) == (raw_path, path, query)


BAD_HOSTS = (
    b"", b"a/b", b"a@b", b"a?x", b"a#x", b"a:99999", b"a:0", b"a:1:2", b"a:x", b":80", b"[::1", b"::1", b"[::1]x",
    b"[g::]",
    b"a\x02b", b"..", b".a", b"a..b", b"a b", b"a,b", b"a%62", b"\xc3\xa9.example", b"http://a", b"-a", b"a" * 300,
    b"a;b", b"a\\b",
)  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOSTS, ids=repr)
def test_a_host_that_is_none_is_refused(server: EchoServer, host: bytes) -> None:
    status, reason = reason_of(server, get(b"/", host))
    assert status == 400
    assert reason in ("bad_host", "bad_request")


@pytest.mark.parametrize(
    "host", [b"a.example", b"A.B.", b"a:", b"a:80", b"127.0.0.1:8000", b"[::1]:80", b"my_service", b" a \t"]
)
def test_a_host_with_an_optional_port_is_taken(server: EchoServer, host: bytes) -> None:
    headers = server.send(get(b"/", host)).json()["headers"]
    assert headers == [["host", host.strip().decode()]]


@pytest.mark.parametrize(
    "hosts", [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n"], ids=["missing", "twice", "two"]
)
def test_there_is_exactly_one_host(server: EchoServer, hosts: bytes) -> None:
    assert reason_of(server, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n") == (400, "bad_host")


def test_http_1_0_may_leave_the_host_out(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        response = client.response()
        assert response.json()["version"] == "1.0"
        assert response.header("connection") == "close"
        assert client.is_closed()


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE"])
def test_a_method_that_is_never_served_is_refused(server: EchoServer, method: bytes) -> None:
    target = b"a.example:443" if method == b"CONNECT" else b"/"
    assert reason_of(server, get(target, method=method)) == (405, "bad_method")


@pytest.mark.parametrize("method", [b"get", b"GETX", b'G=":<>', b"G\x80T", b"", b"GE T", b"DESCRIBE", b"PRI"])
def test_a_method_of_no_kind_is_refused(server: EchoServer, method: bytes) -> None:
    assert reason_of(server, get(b"/", method=method))[0] == 400


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND"])
def test_other_methods_are_for_the_application_to_judge(server: EchoServer, method: bytes) -> None:
    assert server.send(get(b"/", method=method)).json()["method"] == method.decode()


def test_names_are_lower_case_values_raw_and_order_kept(server: EchoServer) -> None:
    headers = [("X-B", "1"), ("x_a", "caf\xe9"), ("X-B", "2"), ("X-Empty", ""), ("X-Tab", "a\tb")]
    seen = server.send(raw.request(headers=headers)).json()["headers"]
    assert seen == [["host", "localhost"], *([name.lower(), value] for name, value in headers)]


@pytest.mark.parametrize("value", ["200-ok", "100-continue, 100-continue", "", "100-continue;x"])
def test_an_unknown_expectation_is_refused(server: EchoServer, value: str) -> None:
    data = raw.request("POST", headers=[("Expect", value)], body=b"hello")
    assert reason_of(server, data) == (417, "unknown_expectation")


def test_http_1_0_has_no_expectations(server: EchoServer) -> None:
    response = server.send(b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
    assert (response.interim, response.json()["body"]) == ([], "hello")


def test_a_head_request_is_refused_without_a_body(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(get(b"/", b"a/b", method=b"HEAD"))
        assert client.response("HEAD").status == 400
        assert client.is_closed()


SIZES = {
    "target at the limit": (get(b"/" + b"a" * (8 * KIB - 1)), 200),
    "target over the limit": (get(b"/" + b"a" * 8 * KIB), 414),
    "query over the limit": (get(b"/?" + b"a" * 8 * KIB), 414),
    "target without end": (b"GET /" + b"a" * 9 * KIB, 414),
    "header line at the limit": (raw.request(headers=[("X", "a" * (16 * KIB - 3))]), 200),
    "header line over the limit": (raw.request(headers=[("X", "a" * (16 * KIB - 2))]), 431),
    "header name over the limit": (raw.request(headers=[("X" * 17 * KIB, "a")]), 431),
    "header line without end": (raw.request()[:-2] + b"X: " + b"a" * 17 * KIB, 431),
    "headers at the limit": (raw.request(headers=[(f"X{i}", "a" * 16000) for i in range(4)]), 200),
    "headers over the limit": (raw.request(headers=[(f"X{i}", "a" * 16000) for i in range(5)]), 431),
    "a hundred headers": (raw.request(headers=[(f"X{i}", "a") for i in range(99)]), 200),
    "a hundred and one headers": (raw.request(headers=[(f"X{i}", "a") for i in range(100)]), 431),
    "headers without end": (raw.request()[:-2] + b"X: a\r\n" * 101, 431),
}


@pytest.mark.parametrize(("data", "status"), SIZES.values(), ids=SIZES)
def test_sizes_are_bounded_while_the_bytes_arrive(server: EchoServer, data: bytes, status: int) -> None:
    assert server.send(data, method="GET").status == status


@pytest.mark.parametrize(("data", "status"), SIZES.values(), ids=SIZES)
def test_sizes_are_bounded_in_small_pieces_too(server: EchoServer, data: bytes, status: int) -> None:
    with server.connect() as client:
        client.dribble(data, size=1009, delay=0.0001)
        assert client.response().status == status
