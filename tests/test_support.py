from __future__ import annotations

import psycopg
import pytest

from tests.support import raw
from tests.support.certificates import Certificates
from tests.support.postgres import Postgres
from tests.support.upstream import RecordedRequest, RecordingUpstream, UpstreamConnection
from tests.support.valkey import Valkey


def ask(upstream: RecordingUpstream, data: bytes) -> raw.Response:
    return raw.exchange(("127.0.0.1", upstream.port), data)


def test_upstream_records_the_exact_head(upstream):
    ask(upstream, b"GET /a%2Fb?q=1 HTTP/1.1\r\nhOsT:  x \r\nX-Two: 1\r\nx-two: 2\r\n\r\n")
    assert upstream.only.head == b"GET /a%2Fb?q=1 HTTP/1.1\r\nhOsT:  x \r\nX-Two: 1\r\nx-two: 2"
    assert upstream.only.target == b"/a%2Fb?q=1"
    assert upstream.only.all("x-two") == ["1", "2"]


def test_upstream_records_a_chunked_body_decoded_and_raw(upstream):
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    ask(upstream, head + raw.chunked(b"abc", b"de"))
    assert bytes(upstream.only.body) == b"abcde"
    assert bytes(upstream.only.raw_body) == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


def test_upstream_answers_each_path_as_told(upstream):
    upstream.reply(b"HTTP/1.1 404 Gone Fishing\r\nContent-Length: 0\r\n\r\n", path="/x")
    assert ask(upstream, raw.request(target="/x?y")).reason == "Gone Fishing"
    assert ask(upstream, raw.request(target="/y")).json() == {"ok": True}


def test_upstream_hands_the_connection_to_a_callable_before_the_body(upstream):
    def answer(connection: UpstreamConnection, request: RecordedRequest) -> None:
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    upstream.reply(answer)
    with raw.RawClient(("127.0.0.1", upstream.port)) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        assert client.response().status == 413
    assert not upstream.only.complete


def test_pipelined_requests_come_on_one_connection(upstream):
    with raw.RawClient(("127.0.0.1", upstream.port)) as client:
        client.dribble(raw.request(target="/1") + raw.request(target="/2"), size=20)
        assert [response.status for response in client.responses(2)] == [200, 200]
    assert [request.connection for request in upstream.requests] == [upstream.connections] * 2


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabc", id="length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close", id="head"),
    ],
)
def test_client_reports_a_truncated_response(upstream, reply):
    upstream.reply(reply)
    with pytest.raises(raw.Truncated):
        ask(upstream, raw.request())


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: 1\r\nContent-Length: 1", id="two lengths"),
        pytest.param(b"Content-Length: 1\r\nTransfer-Encoding: chunked", id="length and chunked"),
        pytest.param(b"Content-Length: +1", id="signed length"),
        pytest.param(b"Bad Name: x", id="space in a name"),
    ],
)
def test_client_refuses_an_ambiguous_response(upstream, head):
    upstream.reply(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nx")
    with pytest.raises(raw.ProtocolViolation):
        ask(upstream, raw.request())


def test_client_and_upstream_speak_tls(certificates: Certificates):
    with RecordingUpstream(tls=certificates.server_context()) as upstream:
        response = raw.exchange(("127.0.0.1", upstream.port), raw.request(), tls=certificates.client_context())
    assert response.status == 200


def test_upstream_listens_on_a_unix_socket(tmp_path):
    with RecordingUpstream(unix_path=tmp_path / "s") as upstream:
        assert raw.exchange(str(tmp_path / "s"), raw.request()).status == 200
        assert upstream.target == f"unix:{tmp_path}/s"


def test_each_postgres_database_is_empty(postgres: Postgres):
    for _ in range(2):
        with psycopg.connect(postgres.create_database()) as connection:
            connection.execute("CREATE TABLE a (b int)")


def test_valkey_comes_back_on_the_same_address(valkey: Valkey):
    valkey.stop()
    valkey.start()
    assert valkey.client.ping()
