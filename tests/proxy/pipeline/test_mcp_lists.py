from __future__ import annotations

import json

import pytest

from proxy.failures import CannotPass
from proxy.pipeline.mcp_lists import MAX_BYTES, Events, without_hidden_tools

LIST = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read","n":1.0},{"name":"drop"}],"nextCursor":"c"}}'
SHOWN = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read","n":1.0}],"nextCursor":"c"}}'


def reads(name):
    return name == "read"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(LIST, SHOWN, id="list"),
        pytest.param(b" " + LIST + b"\n", SHOWN, id="white space"),
        pytest.param(LIST.replace(b'"tools"', rb'"\u0074ools"'), SHOWN, id="escaped"),
        pytest.param(LIST.replace(b'"drop"', rb'"dr\u006fp"'), SHOWN, id="name escaped"),
        pytest.param(LIST.replace(b'{"name":"drop"}', b'{"x":1},1,null,{"name":2}'), SHOWN, id="nameless"),
        pytest.param(b"[" + LIST + b',{"id":2}]', b"[" + SHOWN + b',{"id":2}]', id="batch"),
        pytest.param(LIST.replace(b'"tools":[', b'"tools":[{"name":"hidden"}],"tools":['), SHOWN, id="twice"),
        pytest.param(
            LIST.replace(b'"nextCursor":"c"', b'"cacheScope":"public"'),
            SHOWN.replace(b'"nextCursor":"c"', b'"cacheScope":"private"'),
            id="for shared caches",
        ),
    ],
)
def test_only_what_may_be_called_is_listed(text, shown):
    assert without_hidden_tools(text, reads) == shown


@pytest.mark.parametrize(
    "text",
    [
        b"", b'{"id":1,"result":{"content":"x"}}', b'{"id":1,"result":{"tools":{}}}',
        b'{"id":1,"error":{"tools":[]}}', b'{"params":{"tools":[{"name":"drop"}]}}', b'{"result":["tools"]}',
    ],
)  # fmt: skip
def test_the_rest_is_the_very_same(text):
    assert without_hidden_tools(text, reads) is text


@pytest.mark.parametrize("text", [b'{"result":{"tools":[', LIST + LIST, b'"tools"', b"[tools]"])
def test_what_is_no_json_is_not_passed_on(text):
    with pytest.raises(CannotPass):
        without_hidden_tools(text, reads)


def event(data, end=b"\n"):
    return b"id: 7" + end + b"event: message" + end + b"data: " + data + end + end


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_in_pieces(end, size):
    other = event(b'{"params":{"data":"x"}}', end)
    stream = b": ping" + end + end + event(LIST, end) + other
    events = Events(reads)
    passed = b"".join(events.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + events.rest()
    assert b"drop" not in passed
    assert [json.loads(data) for data in datas(passed)] == [json.loads(SHOWN), {"params": {"data": "x"}}]
    assert passed.lstrip(b"\n").startswith(b": ping")
    assert passed.count(b"id: 7") == 2


def datas(stream):
    """As a reader of the stream finds them."""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    for block in text.split("\n\n"):
        data = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if data:
            yield "\n".join(data)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"data: " + LIST.replace(b",", b",\ndata: ") + b"\n\n", id="several lines"),
        pytest.param(b"data:" + LIST + b"\n\n", id="no blank"),
        pytest.param(b"\xef\xbb\xbfdata: " + LIST + b"\n\n", id="byte order mark"),
        pytest.param(b"data\ndata: " + LIST + b"\n\n", id="an empty line first"),
        pytest.param(b"data: " + LIST, id="without an end"),
        pytest.param(b"\r\n\r\n\n" + event(LIST), id="empty lines first"),
    ],
)
def test_events_of_other_forms(stream):
    events = Events(reads)
    assert [json.loads(data) for data in datas(events.feed(stream) + events.rest())] == [json.loads(SHOWN)]


def test_an_event_goes_out_as_soon_as_it_is_whole():
    events = Events(reads)
    assert events.feed(b"data: 1\n") == b""
    assert events.feed(b"\ndata: 2") == b"data: 1\n\n"
    assert events.feed(b"\r\n\r") == b"data: 2\r\n\r"


def test_what_is_no_message_passes_as_it_came():
    stream = b"event: endpoint\ndata: /messages?tools=1\n\n"
    assert Events(reads).feed(stream) == stream


def test_an_event_is_kept_up_to_a_bound():
    events = Events(reads)
    with pytest.raises(CannotPass):
        for _ in range(MAX_BYTES // 65536 + 1):
            events.feed(b"x" * 65536)
