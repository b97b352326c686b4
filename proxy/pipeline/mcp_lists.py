"""Lists of tools in what an MCP server sends: JSON of which the caller gets to see the tools they may call. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from proxy.failures import CannotPass

MAX_BYTES = 4 * 1024 * 1024  # of a list, or of an event of a stream that may hold one

MayCall = Callable[[str], bool]

_LINE_END = re.compile(rb"\r\n|\n|\r")
# Two ends of lines. Between "\r" and "\n" is none.
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_BOM = b"\xef\xbb\xbf"


class _Tool(msgspec.Struct):
    name: str


# What is not looked at stays as it came, numbers to the last digit.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_tool = msgspec.json.Decoder(_Tool)


def without_hidden_tools(text: bytes, may_call: MayCall) -> bytes:
    """A message or a batch. The very same text where there is no list. Raises CannotPass."""
    if b"tools" not in text and b"\\u" not in text:
        return text
    try:
        if text.lstrip()[:1] != b"[":
            return _message(text, may_call)
        items = _items.decode(text)
        kept = [_message(bytes(item), may_call) for item in items]
    except msgspec.MsgspecError as error:
        raise CannotPass("a list of tools that is not JSON") from error
    return msgspec.json.encode([msgspec.Raw(item) for item in kept])


def _message(text: bytes, may_call: MayCall) -> bytes:
    message = _members.decode(text)
    raw = bytes(message.get("result", b""))
    if raw[:1] != b"{":
        return text
    result = _members.decode(raw)
    tools = bytes(result.get("tools", b""))
    if tools[:1] != b"[":
        return text
    result["tools"] = msgspec.Raw(
        msgspec.json.encode([tool for tool in _items.decode(tools) if _shows(tool, may_call)])
    )
    if "cacheScope" in result:
        result["cacheScope"] = msgspec.Raw(b'"private"')  # others may call other tools
    message["result"] = msgspec.Raw(msgspec.json.encode(result))
    return msgspec.json.encode(message)


def _shows(tool: msgspec.Raw, may_call: MayCall) -> bool:
    try:
        return may_call(_tool.decode(tool).name)
    except msgspec.ValidationError:
        return False  # without a name it cannot be called


class Events:
    """An event stream, event by event (HTML, 9.2.6)."""

    __slots__ = ("_began", "_buffer", "_may_call")

    def __init__(self, may_call: MayCall) -> None:
        self._may_call = may_call
        self._buffer = bytearray()
        self._began = False

    def feed(self, data: bytes) -> bytes:
        """What can be passed on now. Raises CannotPass."""
        return b"".join(self._whole(data))

    def rest(self) -> bytes:
        """What was left without an end, which some readers take for an event all the same."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return self._event(rest)

    def _whole(self, data: bytes) -> Iterator[bytes]:
        buffer, start = self._buffer, 0
        at = max(0, len(buffer) - 3)
        buffer += data
        while end := _EVENT_END.search(buffer, at):
            yield self._event(bytes(buffer[start : end.end()]))
            start = at = end.end()
        del buffer[:start]
        if len(buffer) > MAX_BYTES:
            raise CannotPass(f"an event of more than {MAX_BYTES} bytes in a stream that may list tools")

    def _event(self, event: bytes) -> bytes:
        lines = _LINE_END.split(event if self._began else event.removeprefix(_BOM))
        self._began = True
        found = [value for line in lines if (value := _data_of(line)) is not None]
        text = b"\n".join(found)
        if text.lstrip()[:1] not in (b"{", b"["):
            return event
        filtered = without_hidden_tools(text, self._may_call)
        if filtered is text:
            return event
        kept = [line for line in lines if line and _data_of(line) is None]
        data = [b"data: " + line for line in filtered.split(b"\n")]
        return b"\n".join([*kept, *data, b"", b""])


def _data_of(line: bytes) -> bytes | None:
    name, _, value = line.partition(b":")
    return value.removeprefix(b" ") if name == b"data" else None
