"""Requests to an MCP server, on the callbacks' way and on ASGI's."""

from __future__ import annotations

import json
import time

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.http2 import Http2Client, head

POLICY = """\
version: 1
upstreams: {mcp: {targets: ["%s"]}}
roles: {analyst: {}, admin: {}}
rate_limits: {}
routes:
  - name: tools
    path: /mcp
    access: authenticated
    upstream: mcp
    mcp: true
    allow:
      - {roles: [analyst], mcp_tools: ["read_*", list_tables]}
      - {roles: [admin], mcp_tools: ["*"], mcp_methods: ["*"]}
    deny:
      - {mcp_tools: [drop_database]}
  - {name: open, path: /open, access: public, upstream: mcp, mcp: true}
  - {name: public, path: /public, access: public, upstream: mcp, mcp: true, allow: [{mcp_tools: [ping_me]}]}
  - {name: plain, path: /plain, access: public, upstream: mcp}
"""
TOOLS = [{"name": name} for name in ("read_row", "list_tables", "write_row", "drop_database", "bad name")]
LISTED = {"jsonrpc": "2.0", "id": 1, "result": {"tools": TOOLS}}


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def gate(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("mcp") / "data"
    policy = POLICY % session_upstream.target
    with Gateway(data, template=gateway_template, policy=policy, args=request.param) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def call(tool="read_row", **members):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}, **members}


def post(gate, message, *, roles=("analyst",), path="/mcp", headers=(), content_type="application/json"):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    token = gate.mint("alice", roles=roles) if roles is not None else None
    given = [("Content-Type", content_type)] if content_type else []
    return gate.request(path, method="POST", token=token, headers=[*given, *headers], body=body)


def raw_request(gate, body=None, *headers, method="POST"):
    """As bytes."""
    token, host = gate.mint("alice", roles=("analyst",)), f"localhost:{gate.port}"
    return raw.request(method, "/mcp", [("Content-Type", "application/json"), *headers], body, host=host, token=token)


def answer(document, content_type="application/json", extra=""):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream(*events, content_type="text/event-stream", extra=""):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{extra}Transfer-Encoding: chunked\r\n\r\n"
    return head.encode() + raw.chunked(*events)


def names(message):
    return [tool["name"] for tool in message["result"]["tools"]]


def test_an_allowed_tool_is_called_with_the_very_bytes(gate, upstream):
    body = b'{ "jsonrpc":"2.0", "method":"tools\\/call","id":1,\n"params":{"name":"read_\\u0072ow"} }'
    assert post(gate, body).status == 200
    upstream.wait(complete=True)
    assert bytes(upstream.only.body) == body
    assert upstream.only.header("accept-encoding") == "identity"


def test_a_refused_tool_is_answered_in_json_rpc(gate, upstream):
    response = post(gate, call("write_row", id="x"))
    assert (response.status, response.header("content-type")) == (200, "application/json")
    answered = response.json()
    assert (answered["jsonrpc"], answered["id"]) == ("2.0", "x")
    assert answered["error"]["data"] == {"reason": "tool_not_allowed", "request_id": response.header("x-request-id")}
    assert isinstance(answered["error"]["code"], int)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("roles", "path", "tool", "reason"),
    [
        (("admin",), "/mcp", "write_row", None),
        (("admin",), "/mcp", "drop_database", "tool_not_allowed"),
        (("admin",), "/mcp", "DROP_database", "tool_not_allowed"),
        ((), "/mcp", "read_row", "tool_not_allowed"),
        (None, "/open", "drop_database", None),
        (None, "/public", "ping_me", None),
        (None, "/public", "read_row", "tool_not_allowed"),
    ],
)
def test_by_role_and_route(gate, upstream, roles, path, tool, reason):
    response = post(gate, call(tool), roles=roles, path=path)
    assert response.status == 200
    assert response.json().get("error", {}).get("data", {}).get("reason") == reason
    assert len(upstream.requests) == (0 if reason else 1)


def test_access_comes_first(gate, upstream):
    assert post(gate, call(), roles=None).status == 401
    assert upstream.requests == []


def test_methods(gate, upstream):
    for method, reason in (("initialize", None), ("ping", None), ("resources/read", "mcp_method_not_allowed")):
        response = post(gate, {"jsonrpc": "2.0", "id": 1, "method": method})
        assert response.json().get("error", {}).get("data", {}).get("reason") == reason
    assert post(gate, {"jsonrpc": "2.0", "id": 1, "method": "resources/read"}, roles=("admin",)).json() == {"ok": True}


def test_what_waits_for_no_answer_gets_a_status(gate, upstream):
    refused = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "write_row"}}
    response = post(gate, refused)
    assert (response.status, response.json()["reason"]) == (403, "tool_not_allowed")
    assert upstream.requests == []
    assert post(gate, {"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 200
    assert post(gate, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}).status == 200
    assert len(upstream.requests) == 2


def test_a_batch_is_decided_element_by_element(gate, upstream):
    response = post(
        gate, [call(id=1), call("write_row", id=2), {"jsonrpc": "2.0", "method": "notifications/cancelled"}]
    )
    assert [(one["id"], one["error"]["data"]["reason"]) for one in response.json()] == [
        (1, "batch_refused"), (2, "tool_not_allowed"),
    ]  # fmt: skip
    assert upstream.requests == []
    lines = gate.log_lines(wait_for=3, request_id=response.header("x-request-id"))
    assert [(line["decision"], line["reason"], line["mcp_method"], line.get("mcp_tool")) for line in lines] == [
        ("deny", "batch_refused", "tools/call", "read_row"),
        ("deny", "tool_not_allowed", "tools/call", "write_row"),
        ("deny", "batch_refused", "notifications/cancelled", None),
    ]


def test_a_batch_of_what_is_allowed_goes_on(gate, upstream):
    assert post(gate, [call(id=1), call("list_tables", id=2)]).json() == {"ok": True}


def test_each_call_is_a_line_of_the_log(gate, upstream):
    for tool, decision, reason in (("read_row", "allow", "authenticated"), ("write_row", "deny", "tool_not_allowed")):
        request_id = post(gate, call(tool)).header("x-request-id")
        (line,) = gate.log_lines(wait_for=1, request_id=request_id)
        fields = ("mcp_method", "mcp_tool", "decision", "reason", "status", "sub")
        assert [line[field] for field in fields] == ["tools/call", tool, decision, reason, 200, "alice"]
    (line,) = gate.log_lines(wait_for=1, request_id=gate.get("/plain").header("x-request-id"))
    assert not {"mcp_method", "mcp_tool"} & line.keys()


MIRRORED = [("Mcp-Method", "tools/call"), ("Mcp-Name", "read_row")]
LARGE = call(params={"name": "read_row", "arguments": {"a": "x" * (1 << 20)}})
READINGS = {
    "no message": (b"{}", {}, "bad_message"),
    "no body": (b"", {}, "bad_message"),
    "two documents": (json.dumps(call()).encode() + b"{}", {}, "bad_message"),
    "UTF-16": (json.dumps(call()).encode("utf-16"), {}, "bad_message"),
    "gzip": (call(), {"headers": [("Content-Encoding", "gzip")]}, "bad_message"),
    "identity": (call(), {"headers": [("Content-Encoding", "Identity")]}, None),
    "no type": (call(), {"content_type": ""}, "bad_message"),
    "another type": (call(), {"content_type": "text/plain"}, "bad_message"),
    "charset": (call(), {"content_type": "application/json; charset=utf-16"}, "bad_message"),
    "utf-8": (call(), {"content_type": "application/json; Charset=UTF-8"}, None),
    "two types": (call(), {"headers": [("Content-Type", "text/json")]}, "bad_message"),
    "mirrored": (call(), {"headers": MIRRORED}, None),
    "another method mirrored": (call(), {"headers": [("Mcp-Method", "ping")]}, "bad_message"),
    "another tool mirrored": (call(), {"headers": [("Mcp-Name", "write_row")]}, "bad_message"),
    "two tools mirrored": (call(), {"headers": [*MIRRORED, ("Mcp-Name", "write_row")]}, "bad_message"),
    "batch mirrored": ([call()], {"headers": MIRRORED}, "bad_message"),
    "large": (LARGE, {}, "body_too_large"),
}


@pytest.mark.parametrize(("message", "options", "reason"), READINGS.values(), ids=READINGS.keys())
def test_readings(gate, upstream, message, options, reason):
    response = post(gate, message, **options)
    assert response.status == {None: 200, "bad_message": 400, "body_too_large": 413}[reason]
    if reason is not None:
        assert response.json()["reason"] == reason
        assert upstream.requests == []
    if reason == "bad_message":
        (line,) = gate.log_lines(wait_for=1, request_id=response.header("x-request-id"))
        assert line["rule"]


def test_a_chunked_body_is_decided_and_sent_whole(gate, upstream):
    parts = json.dumps(call("write_row")).encode(), json.dumps(call()).encode()
    for body, reached in zip(parts, (0, 1), strict=True):
        pieces = [body[at : at + 5] for at in range(0, len(body), 5)]
        head = raw_request(gate, None, ("Transfer-Encoding", "chunked"))
        assert gate.send(head + raw.chunked(*pieces), method="POST").status == 200
        assert len(upstream.requests) == reached
    upstream.wait(complete=True)
    assert bytes(upstream.only.body) == parts[1]
    assert upstream.only.header("content-length") == str(len(parts[1]))


def test_a_chunked_body_is_read_up_to_a_bound(gate, upstream):
    head = raw_request(gate, None, ("Transfer-Encoding", "chunked"))
    with gate.connect() as client:
        client.send(head + b"%x\r\n" % (1 << 21) + b" " * (1 << 20) + b" " * 1000)
        response = client.response("POST")
    assert (response.status, response.json()["reason"]) == (413, "body_too_large")
    assert upstream.requests == []


def test_a_body_that_comes_slowly(gate, upstream):
    body = json.dumps(call()).encode()
    head = raw_request(gate, body)
    with gate.connect() as client:
        client.send(head[:-20])
        time.sleep(0.2)
        assert upstream.requests == []
        client.send(head[-20:])
        assert client.response("POST").status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "PROPFIND"])
def test_methods_that_mcp_does_not_use(gate, upstream, method):
    token = gate.mint("alice", roles=("admin",))
    response = gate.request(
        "/mcp", method=method, token=token, headers=[("Content-Type", "application/json")], body=b"{}"
    )
    assert (response.status, response.json()["reason"]) == (400, "bad_message")
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_a_body_with_other_methods(gate, upstream, method):
    token = gate.mint("alice", roles=("admin",))
    body = json.dumps(call("drop_database")).encode()
    response = gate.request(
        "/mcp", method=method, token=token, headers=[("Content-Type", "application/json")], body=body
    )
    assert (response.status, response.json()["reason"]) == (400, "bad_message")
    assert upstream.requests == []
    assert gate.request("/mcp", method=method, token=token).status == 200


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.mark.parametrize(
    ("roles", "path", "shown"),
    [
        (("analyst",), "/mcp", ["read_row", "list_tables"]),
        (("admin",), "/mcp", ["read_row", "list_tables", "write_row"]),
        ((), "/mcp", []),
        (None, "/public", []),
        (None, "/open", [tool["name"] for tool in TOOLS]),
    ],
)
def test_a_list_shows_what_its_caller_may_call(gate, upstream, roles, path, shown):
    event = b"event: message\r\ndata: " + json.dumps(LISTED).encode() + b"\r\n\r\n"
    for reply in (answer(LISTED), answer(LISTED, "application/json; charset=utf-8")):
        upstream.reply(reply)
        response = post(gate, LIST, roles=roles, path=path)
        assert names(response.json()) == shown
        assert response.header("content-length") == str(len(response.body))
    for reply in (
        stream(event),
        stream(*[event[at : at + 9] for at in range(0, len(event), 9)]),
        answer(event, "text/event-stream"),
    ):
        upstream.reply(reply)
        (data,) = [
            line for line in post(gate, LIST, roles=roles, path=path).text.splitlines() if line.startswith("data:")
        ]
        assert names(json.loads(data[5:])) == shown


def test_a_list_on_the_stream_of_a_get(gate, upstream):
    message = {"jsonrpc": "2.0", "method": "notifications/message"}
    upstream.reply(
        stream(
            b": hi\n\n",
            b"data: " + json.dumps(message).encode() + b"\n\n",
            b"data: " + json.dumps(LISTED).encode() + b"\n\n",
        )
    )
    response = gate.get("/mcp", token=gate.mint("alice", roles=("analyst",)))
    assert response.text.startswith(": hi\n\n")
    first, second = [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]
    assert (first, names(second)) == (message, ["read_row", "list_tables"])


def test_events_do_not_wait_for_the_next(gate, upstream):
    def reply(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(b"%x\r\n%b\r\n" % (9, b"data: 1\n\n"))
        connection.wait_closed()

    upstream.reply(reply)
    with gate.connect() as client:
        client.send(
            raw.request("GET", "/mcp", [], host=f"localhost:{gate.port}", token=gate.mint("alice", roles=("analyst",)))
        )
        assert client.read_head().status == 200
        assert client.read_chunk() == b"data: 1\n\n"


def test_answers_to_other_calls_pass_untouched(gate, upstream):
    for body in (b'{"result": {"tools": [{"name": "drop_database"}]} }', b"tools"):
        upstream.reply(answer(body))
        assert post(gate, call()).body == body
        upstream.reply(stream(body, content_type="text/event-stream"))
        assert post(gate, call()).body == body


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(b"\x1f\x8b", extra="Content-Encoding: gzip\r\n"), id="compressed"),
        pytest.param(stream(b"\x1f\x8b", extra="Content-Encoding: gzip\r\n"), id="compressed stream"),
        pytest.param(answer(b'{"result": {"tools": ['), id="cut JSON"),
        pytest.param(answer(LISTED, "text/html"), id="another type"),
        pytest.param(answer(LISTED, "text/html", extra="Content-Type: application/json\r\n"), id="two types"),
        pytest.param(answer({"result": {"tools": [], "x": "a" * (4 << 20)}}), id="large"),
    ],
)
def test_a_list_that_cannot_be_read_is_a_bad_answer(gate, upstream, reply):
    upstream.reply(reply)
    try:
        response = post(gate, LIST)
    except raw.Truncated as cut:
        assert cut.response is not None and b"drop" not in cut.response.body
    else:
        assert (response.status, response.json()["reason"]) == (502, "upstream_broken")
    upstream.reply(answer(LISTED))
    assert names(post(gate, LIST).json()) == ["read_row", "list_tables"]


def test_an_error_of_another_type_passes(gate, upstream):
    upstream.reply(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngone")
    assert post(gate, LIST).text == "gone"
    upstream.reply(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    assert post(gate, LIST).status == 202


def test_other_routes_carry_what_they_carried(gate, upstream):
    body = b"\x1f\x8b not a message"
    headers = [("Content-Encoding", "gzip"), ("Accept-Encoding", "br")]
    assert gate.request("/plain", method="POST", headers=headers, body=body).status == 200
    upstream.wait(complete=True)
    assert bytes(upstream.only.body) == body
    assert upstream.only.header("accept-encoding") == "br"


def test_requests_that_follow_each_other_on_a_connection(gate, upstream):
    upstream.reply(answer(LISTED), path="/mcp")
    bodies = [json.dumps(message).encode() for message in (call("write_row"), LIST, call("write_row"), LIST)]
    with gate.connect() as client:
        client.send(b"".join(raw_request(gate, body) for body in bodies))
        answers = [client.response("POST").json() for _ in bodies]
    assert [list(one)[-1] for one in answers] == ["error", "result", "error", "result"]


@pytest.mark.parametrize("gate", [("--http2",)], ids=["asgi"], indirect=True)
def test_over_http2(gate, upstream):
    upstream.reply(answer(LISTED), path="/mcp")
    fields = [
        ("content-type", "application/json"),
        ("authorization", f"Bearer {gate.mint('alice', roles=('analyst',))}"),
    ]
    with Http2Client(gate.address) as client:
        for message in (call("write_row"), LIST):
            opened = client.open(head("/mcp", "POST", *fields, authority=f"localhost:{gate.port}"), end=False)
            client.send_body(opened, json.dumps(message).encode())
            client.finish(opened)
        hidden = client.open(head("/mcp", "GET", *fields, authority=f"localhost:{gate.port}"), end=False)
        client.send_body(hidden, json.dumps(call("write_row")).encode())
        client.finish(hidden)
        assert client.wait_for(lambda: len(client.ended) == 3)
    refused, listed, with_body = [
        json.loads(client.answers[key][client.answers[key].index(b"{") :]) for key in sorted(client.answers)
    ]
    assert refused["error"]["data"]["reason"] == "tool_not_allowed"
    assert names(listed) == ["read_row", "list_tables"]
    assert with_body["reason"] == "bad_message"
