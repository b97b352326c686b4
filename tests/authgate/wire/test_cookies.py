from __future__ import annotations

import pytest

from authgate.wire.cookies import cookie_line, cookie_pairs


@pytest.mark.parametrize(
    ("lines", "line"),
    [([], b""), ([b"a=b"], b"a=b"), ([b"a=b; c=d", b"e=f"], b"a=b; c=d; e=f"), ([b"", b"a=b"], b"; a=b")],
    ids=["none", "one", "split", "the first empty"],
)
def test_all_cookie_headers_are_one_line(lines: list[bytes], line: bytes) -> None:
    headers = [(b"host", b"h"), *((b"cookie", value) for value in lines), (b"x-cookie", b"no=no")]
    assert cookie_line(headers) == line


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        (b"", [b""]),
        (b"a=b; c=d", [b"a=b", b"c=d"]),
        (b" a=b\t;c = d ;; nameless; =x", [b"a=b", b"c = d", b"", b"nameless", b"=x"]),
        (b"a=1; a=2", [b"a=1", b"a=2"]),
        (b"\xa0a=b;\x0bc=d", [b"\xa0a=b", b"\x0bc=d"]),
    ],
    ids=["empty", "as browsers write them", "strange spaces", "twice", "only blanks and tabs are white space"],
)
def test_pairs_are_told_apart_by_semicolons_alone(line: bytes, pairs: list[bytes]) -> None:
    assert list(cookie_pairs(line)) == pairs
