"""What is sent to MCP servers has one reading, or is not sent."""

from __future__ import annotations

import json

import pytest

from authgate.wire.json_rpc import MAX_MESSAGES, Message, read_messages


def call(**members):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read_row"}, **members}


def read(text):
    return read_messages(text if isinstance(text, bytes) else json.dumps(text).encode())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(call(), Message("tools/call", "read_row", 1), id="call"),
        pytest.param(call(id="a"), Message("tools/call", "read_row", "a"), id="id is a string"),
        pytest.param(
            {"jsonrpc": "2.0", "method": "notifications/progress"}, Message("notifications/progress", "", None),
            id="notification",
        ),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": None}, Message("ping", "", 1), id="null params"
        ),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {"method": "ping"}}, Message("", "", None), id="answer"),
        pytest.param({"jsonrpc": "2.0", "id": None, "error": {}}, Message("", "", None), id="error"),
        pytest.param(
            call(params={"name": "a.b/c-d:E_9", "arguments": {"name": "x"}}), Message("tools/call", "a.b/c-d:E_9", 1),
            id="characters",
        ),
    ],
)  # fmt: skip
def test_messages(value, message):
    assert read(value) == ((message,), False)


def test_escapes_are_the_characters_they_stand_for():
    body = rb'{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/c\u0061ll","params":{"n\u0061me":"delete_\u0072ow"}}'
    assert read(body).all[0] == Message("tools/call", "delete_row", 1)


def test_a_batch():
    assert read([call(), call(id=2, method="ping")]) == (
        (Message("tools/call", "read_row", 1), Message("ping", "", 2)), True,
    )  # fmt: skip


CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_row"}}'
BAD = {
    "empty": b"",
    "not JSON": b"tools/call",
    "a number": b"1",
    "null": b"null",
    "cut": CALL[:-1],
    "trailing data": CALL + b"x",
    "two documents": CALL + CALL,
    "two lines": CALL + b"\n" + CALL,
    "NUL behind": CALL + b"\0",
    "byte order mark": b"\xef\xbb\xbf" + CALL,
    "UTF-16": CALL.decode().encode("utf-16"),
    "UTF-16 without mark": CALL.decode().encode("utf-16-le"),
    "UTF-32": CALL.decode().encode("utf-32"),
    "invalid UTF-8": CALL.replace(b"read_row", b"read\xff"),
    "overlong UTF-8": CALL.replace(b"read_row", b"\xc0\xaf"),
    "half a surrogate pair": CALL.replace(b"read_row", rb"\ud800"),
    "comment": b"/* */" + CALL,
    "single quotes": CALL.replace(b'"', b"'"),
    "trailing comma": CALL[:-1] + b",}",
    "NaN": CALL.replace(b":1,", b":NaN,"),
    "control character": CALL.replace(b"read_row", b"read\nrow"),
    "method twice": CALL.replace(b'"method"', b'"method":"ping","method"'),
    "method twice, one escaped": CALL.replace(b'"method"', rb'"m\u0065thod":"ping","method"'),
    "name twice": CALL.replace(b'"name"', b'"name":"x","name"'),
    "member twice below": CALL.replace(b'"name"', b'"arguments":{"a":1,"a":2},"name"'),
    "method in another case": CALL.replace(b'"method"', b'"Method"'),
    "method and Method": CALL.replace(b'"method"', b'"Method":"ping","method"'),
    "name and NAME": CALL.replace(b'"name"', b'"NAME":"x","name"'),
    "params with long s": CALL.replace(b'"params"', '"param\u017f":{},"params"'.encode()),
    "NAME alone": CALL.replace(b'"name"', b'"NAME"'),
    "call and answer": CALL.replace(b'"id"', b'"result":{},"id"'),
    "answer of both kinds": b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
    "neither": b'{"jsonrpc":"2.0","id":1}',
    "other version": CALL.replace(b"2.0", b"1.0"),
    "no version": CALL.replace(b'"jsonrpc":"2.0",', b""),
    "version is a number": CALL.replace(b'"2.0"', b"2.0"),
    "id is null": CALL.replace(b'"id":1', b'"id":null'),
    "id is true": CALL.replace(b'"id":1', b'"id":true'),
    "id is a fraction": CALL.replace(b'"id":1', b'"id":1.5'),
    "id is an object": CALL.replace(b'"id":1', b'"id":{}'),
    "id is long": CALL.replace(b'"id":1', b'"id":"' + b"a" * 300 + b'"'),
    "method is null": CALL.replace(b'"tools/call"', b"null"),
    "method is a list": CALL.replace(b'"tools/call"', b'["tools/call"]'),
    "method in upper case": CALL.replace(b"tools/call", b"Tools/Call"),
    "method with a blank": CALL.replace(b"tools/call", b"tools/call "),
    "method with a slash more": CALL.replace(b"tools/call", b"tools//call"),
    "method with a dot": CALL.replace(b"tools/call", b"tools.call"),
    "list in another spelling": CALL.replace(b"tools/call", b"TOOLS/LIST"),
    "method is empty": CALL.replace(b"tools/call", b""),
    "no params": b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    "params is a list": CALL.replace(b'{"name":"read_row"}', b'["read_row"]'),
    "params is a string": CALL.replace(b'{"name":"read_row"}', b'"read_row"'),
    "no name": CALL.replace(b'"name":"read_row"', b""),
    "name is a number": CALL.replace(b'"read_row"', b"1"),
    "name is a list": CALL.replace(b'"read_row"', b'["read_row"]'),
    "name with a blank": CALL.replace(b"read_row", b" read_row"),
    "name with NUL": CALL.replace(b"read_row", rb"read_row\u0000"),
    "name in full width": CALL.replace(b"read_row", "ｒead_row".encode()),
    "name with an accent": CALL.replace(b"read_row", "réad".encode()),
    "name with percent": CALL.replace(b"read_row", b"read%5frow"),
    "name is long": CALL.replace(b"read_row", b"a" * 129),
    "empty batch": b"[]",
    "large batch": b"[" + b",".join([CALL] * (MAX_MESSAGES + 1)) + b"]",
    "batch in a batch": b"[[" + CALL + b"]]",
    "batch with a number": b"[" + CALL + b",1]",
    "deep": CALL.replace(b'"name"', b'"arguments":' + b"[" * 100 + b"]" * 100 + b',"name"'),
    "very deep": b"[" * 100_000,
    "huge number": CALL.replace(b":1,", b":" + b"1" * 5000 + b","),
}  # fmt: skip


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_what_has_another_reading_or_none_is_refused(body):
    assert read(CALL).all
    with pytest.raises(ValueError):
        read(body)
