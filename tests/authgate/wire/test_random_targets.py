"""Whatever bytes come as a path: refused, or one spelling that no reader can understand as another place."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.wire.target import TargetRefused, canonical_path, careless_path
from tests.support.neighbours import careless_readings

PIECES = (
    b"/", b"/", b"//", b"a", b"admin", b"open", b".", b"..", b"%2e", b"%2E", b"%25", b"%", b"%2", b"%2f", b"%5C", b"\\",
    b";", b"%3b", b"%3F", b"%23", b"#", b"%20", b" ", b"%00", b"%0a", b"%7f", b"%c3%a9", b"%c0%af", b"%ff", b"%61",
    b"%41", b"%ef%bc%8f", b"%ef%bc%8e", b"%ef%bc%bc", b"%ef%bd%81", b"%e2%80%a5", b"~", b"@", b":", b"+",
    b"\xc3\xa9", b"x" * 999,
)  # fmt: skip
paths = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(lambda parts: b"/" + b"".join(parts))
bounded = settings(max_examples=500, deadline=None)


def canonical(raw: bytes) -> str | None:
    try:
        return canonical_path(raw)
    except TargetRefused:
        return None


@bounded
@given(paths)
def test_the_canonical_spelling_is_its_own_canonical_spelling(raw):
    path = canonical(raw)
    assert path is None or canonical_path(path.encode("ascii")) == path


@bounded
@given(paths)
def test_the_canonical_spelling_names_the_same_resource(raw):
    path = canonical(raw)
    assert path is None or unquote_to_bytes(path) == unquote_to_bytes(raw)


@bounded
@given(paths)
def test_no_reading_of_a_canonical_path_climbs_or_has_control_characters(raw):
    path = canonical(raw)
    if path is None:
        return
    decoded = unquote_to_bytes(path)
    assert not set(decoded.split(b"/")) & {b".", b".."}
    assert not set(decoded) & {*range(0x20), 0x7F, ord("\\")}
    first = path.split("/")[1]
    if first.isalnum():
        # What begins in a directory stays in it.
        assert {reading.split("/")[1] for reading in careless_readings(path)} == {first}


@bounded
@given(paths, paths)
def test_two_canonical_paths_that_decode_alike_differ_only_in_reserved_characters(one, two):
    first, second = canonical(one), canonical(two)
    if first and second and first != second and unquote_to_bytes(first) == unquote_to_bytes(second):
        assert set(unquote_to_bytes(first)) & set(b"!$&'()*+,=:@|^[]")


@bounded
@given(paths)
def test_a_careless_reading_is_a_path(raw):
    path = canonical(raw)
    if path is not None:
        reading = careless_path(path)
        assert reading.startswith("/")
        assert "//" not in reading.removesuffix("/")
