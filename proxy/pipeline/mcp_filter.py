"""Between an exchange and its client: the answers of an MCP server, without the tools its caller may not call."""

from __future__ import annotations

from functools import partial

from authgate.decision import Allowed
from authgate.gate.mcp import Checked, may_call
from authgate.wire.framing import BODILESS
from proxy.exchange import Downstream
from proxy.failures import CannotPass, Failure
from proxy.pipeline.mcp_lists import MAX_BYTES, Events, without_hidden_tools
from proxy.response_headers import Layout, Values, layout_of


def find_filter(downstream: Downstream, allowed: Allowed, checked: Checked) -> ToolFilter | None:
    """None: what comes back names no tools, or all of them are the caller's to call. It is passed on as it comes."""
    rules = allowed.entry.mcp
    # A stream that a GET opens may bring the answers to any earlier call.
    if rules is None or rules.is_open or not (checked.lists_tools or allowed.facts.method == "GET"):
        return None
    return ToolFilter(downstream, allowed, asked=checked.lists_tools)


class ToolFilter:
    """A Downstream in front of another one."""

    __slots__ = ("_asked", "_downstream", "_empty", "_events", "_head", "_may_call", "_whole")

    def __init__(self, downstream: Downstream, allowed: Allowed, *, asked: bool) -> None:
        """`asked`: the request asks for a list, so that no other answer than one that can be read goes through."""
        self._downstream = downstream
        self._may_call = partial(may_call, allowed)
        self._asked = asked
        self._events: Events | None = None
        self._whole: bytearray | None = None
        self._head: tuple[int, Layout, Values] | None = None  # held until all of the body is there
        self._empty = False  # no body may follow

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        kind = _content_type(layout, values)
        if status in BODILESS:
            self._downstream.response_head(status, layout, values)
        elif kind == b"text/event-stream":
            _check_readable(layout, values)
            self._events = Events(self._may_call)
            self._downstream.response_head(status, *_without_length(layout, values))
        elif self._asked and kind == b"application/json":
            _check_readable(layout, values)
            self._whole = bytearray()
            self._head = (status, layout, values)
        else:
            self._empty = self._asked and status < 300
            self._downstream.response_head(status, layout, values)

    def response_data(self, data: bytes) -> None:
        if self._events is not None:
            data = self._events.feed(data)
        elif self._whole is not None:
            self._whole += data
            if len(self._whole) > MAX_BYTES:
                raise CannotPass(f"a list of tools of more than {MAX_BYTES} bytes")
            return
        elif self._empty:
            raise CannotPass("a list of tools that is neither JSON nor an event stream")
        if data:
            self._downstream.response_data(data)

    def response_so_far(self) -> None:
        if self._whole is None:
            self._downstream.response_so_far()

    def response_end(self) -> None:
        if self._events is not None:
            data = self._events.rest()
        elif self._whole is not None and self._head is not None:
            data = without_hidden_tools(bytes(self._whole), self._may_call)
            status, layout, values = self._head
            layout, values = _without_length(layout, values)
            layout = layout_of((*layout.names, b"content-length"))
            self._downstream.response_head(status, layout, (*values, b"%d" % len(data)))
        else:
            data = b""
        if data:
            self._downstream.response_data(data)
        self._downstream.response_end()

    def response_failed(self, failure: Failure) -> None:
        self._downstream.response_failed(failure)

    def response_strayed(self, target: str, what: str) -> None:
        self._downstream.response_strayed(target, what)

    def request_writable(self) -> None:
        self._downstream.request_writable()

    def still_waiting(self) -> None:
        self._downstream.still_waiting()

    def trust_changed(self) -> None:
        self._downstream.trust_changed()


def _content_type(layout: Layout, values: Values) -> bytes:
    """Empty when there is none, or more than one."""
    types = [value for name, value in layout.pairs(values) if name == b"content-type"]
    return types[0].partition(b";")[0].strip().lower() if len(types) == 1 else b""


def _check_readable(layout: Layout, values: Values) -> None:
    """Raises CannotPass."""
    for name, value in layout.pairs(values):
        if name == b"content-encoding" and value.lower() != b"identity":
            raise CannotPass("tools listed in a Content-Encoding that it was not asked for")


def _without_length(layout: Layout, values: Values) -> tuple[Layout, Values]:
    pairs = [(name, value) for name, value in layout.pairs(values) if name != b"content-length"]
    return layout_of(tuple([name for name, _ in pairs])), tuple([value for _, value in pairs])
