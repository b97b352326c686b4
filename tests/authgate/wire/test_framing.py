from __future__ import annotations

import pytest

from authgate.wire.framing import BODILESS, CHUNKED, UNTIL_CLOSE, has_body, is_chunked, is_length


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("GET", 200, True), ("POST", 404, True), ("DELETE", 205, True), ("HEAD", 200, False), ("GET", 204, False),
        ("GET", 304, False), ("HEAD", 304, False),
    ],
)  # fmt: skip
def test_a_response_has_a_body_unless_its_method_or_status_has_none(method, status, expected):
    assert has_body(method, status) is expected
    assert {204, 304} == BODILESS


@pytest.mark.parametrize("value", [b"0", b"5", b"010", b"9" * 18])
def test_a_length_is_digits(value):
    assert is_length(value)


@pytest.mark.parametrize(
    "value", [b"", b"+5", b"-1", b" 5", b"5 ", b"0x5", b"5_0", b"9" * 19, "\u0665".encode(), b"5\n"]
)
def test_anything_else_is_no_length(value):
    assert not is_length(value)


def test_a_length_is_never_taken_for_what_stands_in_its_place():
    assert len({CHUNKED, UNTIL_CLOSE}) == 2
    assert max(CHUNKED, UNTIL_CLOSE) < 0


@pytest.mark.parametrize(
    ("coding", "expected"), [(b"chunked", True), (b"Chunked", True), (b"chunked ", False), (b"gzip", False)]
)
def test_one_coding_is_spoken(coding, expected):
    assert is_chunked(coding) is expected
