"""W3C Trace Context, 3.2: whatever is not of its form counts as no trace."""

from __future__ import annotations

import pytest

from authgate.wire.headers import Headers
from authgate.wire.trace_context import read_trace, span_id_of, traceparent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


def read(*lines: str):
    return read_trace(Headers([(b"host", b"h"), *((b"traceparent", line.encode()) for line in lines)]))


@pytest.mark.parametrize(
    ("line", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-03", True),
        (f"00-{TRACE}-{PARENT}-fe", False),
        (f"cc-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_trace(line, sampled):
    trace = read(line)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id, trace.sampled, trace.line) == (TRACE, PARENT, sampled, line.encode())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-0x",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01-x",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f" {GOOD}",
        f"{GOOD} ",
        f"cc-{TRACE}-{PARENT}-01.x",
        f"{GOOD},{GOOD}",
    ],
)
def test_no_trace(line):
    assert read(line) is None


def test_of_two_nobody_knows_which():
    assert read(GOOD, GOOD) is None


def test_none():
    assert read() is None


def test_what_is_sent_can_be_read():
    request_id = "0123456789abcdef" * 2
    again = read(traceparent(TRACE, request_id, sampled=True).decode())
    assert again is not None and (again.trace_id, again.parent_id, again.sampled) == (
        TRACE,
        span_id_of(request_id),
        True,
    )
    assert traceparent(TRACE, request_id, sampled=False).endswith(b"-00")
