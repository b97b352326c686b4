"""Where the frames of a WebSocket end, however its bytes arrive; judged by a library's own reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from proxy.websocket import Frames, close_code, close_frame

LENGTHS = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000])


def encoded(lengths, mask=False):
    return [Frame(Opcode.BINARY, b"x" * length).serialize(mask=mask) for length in lengths]


@given(st.lists(LENGTHS, min_size=1, max_size=5), st.lists(st.integers(0, 80000), max_size=8), st.booleans())
def test_the_ends_are_found_wherever_the_bytes_are_cut(lengths, cuts, mask):
    parts = encoded(lengths, mask)
    data, ends, at = b"".join(parts), {0}, 0
    for part in parts:
        at += len(part)
        ends.add(at)
    frames, before = Frames(), 0
    for cut in sorted({min(cut, len(data)) for cut in [*cuts, len(data)]}):
        frames.follow(data[before:cut])
        assert frames.is_between == (cut in ends)
        before = cut


def test_byte_by_byte():
    frames = Frames()
    for byte in b"".join(encoded([3, 200])):
        frames.follow(bytes([byte]))
    assert frames.is_between


def test_a_length_of_years_is_just_never_over():
    frames = Frames()
    frames.follow(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff" + b"x" * 100)
    assert not frames.is_between


def test_the_last_frame_says_code_and_reason():
    frame = close_frame(4403, "missing_role")
    assert frame[:1] == b"\x88"
    assert Close.parse(frame[2:]) == Close(4403, "missing_role")
    assert frame == Frame(Opcode.CLOSE, Close(4403, "missing_role").serialize()).serialize(mask=False)


@pytest.mark.parametrize(("status", "code"), [(401, 4401), (403, 4403), (404, 4403), (503, 1013), (500, 1001)])
def test_the_code_follows_the_status_that_a_request_would_get(status, code):
    assert close_code(status) == code
