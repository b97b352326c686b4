from __future__ import annotations

import pytest

from authgate.wire.target import TargetRefused, canonical_path, careless_path, check_query


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        pytest.param(b"/", "/", id="root"),
        pytest.param(b"/api/users", "/api/users", id="plain"),
        pytest.param(b"/api/users/", "/api/users/", id="slash at the end is part of it"),
        pytest.param(b"/API/Users", "/API/Users", id="case is part of it"),
        pytest.param(b"/a.b/c..d/e.", "/a.b/c..d/e.", id="dots inside and at the end of a segment"),
        pytest.param(b"/.well-known/x", "/.well-known/x", id="segment beginning with a dot"),
        pytest.param(b"/...", "/...", id="three dots are a name"),
        pytest.param(b"/api/%61dmin", "/api/admin", id="escaped letter"),
        pytest.param(b"/%41%2D%5F%7E%2e1", "/A-_~.1", id="escaped unreserved"),
        pytest.param(b"/caf%c3%a9", "/caf%C3%A9", id="hexadecimal in upper case"),
        pytest.param(b"/a%20b", "/a%20b", id="space stays escaped"),
        pytest.param(b"/a%3fb", "/a%3Fb", id="question mark stays escaped"),
        pytest.param(b"/a%23b", "/a%23b", id="hash stays escaped"),
        pytest.param(b"/a%3bb", "/a%3Bb", id="semicolon stays escaped"),
        pytest.param(b"/a%25", "/a%25", id="percent sign stays escaped"),
        pytest.param(b"/a%25b", "/a%25b", id="percent sign and one hexadecimal digit"),
        pytest.param(b"/a%40b", "/a%40b", id="escaped at sign is kept"),
        pytest.param(b"/a@b", "/a@b", id="bare at sign is kept"),
        pytest.param(b"/v1/items:batch(1),2", "/v1/items:batch(1),2", id="sub-delimiters"),
        pytest.param(b"/a|b^c[1]", "/a|b^c[1]", id="what browsers leave bare"),
        pytest.param(b"/%EF%BC%85", "/%EF%BC%85", id="fullwidth percent"),
        pytest.param(b"/%EF%BD%81dmin", "/%EF%BD%81dmin", id="fullwidth letter is another letter"),
        pytest.param(b"/%E2%80%A6", "/%E2%80%A6", id="ellipsis is a name"),
        pytest.param(b"/a%EF%BC%8Fb", "/a%EF%BC%8Fb", id="fullwidth slash is a character"),
    ],
)
def test_one_resource_has_one_spelling(raw, canonical):
    assert canonical_path(raw) == canonical


REFUSED = {
    "empty": b"",
    "asterisk form": b"*",
    "relative": b"foo/bar",
    "absolute form": b"http://evil.test/",
    "authority form": b"evil.test:443",
    "raw fragment": b"/foo/secret#/bar",
    "query belongs elsewhere": b"/a?b",
    "backslash": b"/api\\admin",
    "raw space": b"/a b",
    "raw tab": b"/a\tb",
    "raw newline": b"/a\nb",
    "newline at the end": b"/a\n",
    "NUL": b"/a\x00b",
    "DEL": b"/a\x7f",
    "8-bit": "/é".encode(),
    "quote": b'/a"b',
    "angle bracket": b"/a<b",
    "brace": b"/a{b}",
    "backtick": b"/a`b",
    "path parameter": b"/api/public/..;/admin",
    "path parameter after a name": b"/api/admin;x=1",
    "broken escape": b"/a%",
    "short escape": b"/a%1",
    "not hexadecimal": b"/a%zz",
    "IIS escape": b"/a%u002fb",
    "escaped slash": b"/api%2fadmin",
    "escaped slash in upper case": b"/api%2Fadmin",
    "escaped backslash": b"/api%5cadmin",
    "escaped NUL": b"/a%00",
    "escaped newline": b"/a%0ab",
    "escaped return": b"/a%0d",
    "escaped tab": b"/a%09",
    "escaped ESC": b"/a%1b[31m",
    "escaped DEL": b"/a%7F",
    "empty segment": b"/api//admin",
    "empty segment at the start": b"//evil.test/x",
    "empty segments at the end": b"/api//",
    "dot": b"/api/./admin",
    "dot at the end": b"/api/.",
    "dot dot": b"/api/public/../admin",
    "dot dot at the end": b"/api/..",
    "dot dot at the start": b"/../etc",
    "escaped dots": b"/api/%2e%2e/admin",
    "half escaped dots": b"/api/.%2E/admin",
    "escaped dot at the end": b"/api/%2e",
    "dots and an escaped parameter": b"/api/public/..%3b/admin",
    "dot and an escaped parameter": b"/api/.%3Bx/admin",
    "dots and an escaped query": b"/api/public/..%3f/admin",
    "dots and an escaped fragment": b"/api/public/..%23/admin",
    "dots and an escaped space": b"/api/public/..%20/admin",
    "escaped dots and an escaped space at the end": b"/api/public/%2e%2e%20",
    "encoded twice": b"/api/%252e%252e%252fadmin",
    "encoded twice in parts": b"/api/%25%32%65%25%32%65/admin",
    "percent and an escaped digit": b"/a%25%32f",
    "overlong slash": b"/%c0%af",
    "overlong slash in three bytes": b"/%e0%80%af",
    "latin-1": b"/caf%e9",
    "surrogate": b"/%ed%a0%80",
    "cut UTF-8": b"/%c3",
    "dots between fullwidth slashes": b"/api/public%EF%BC%8F..%EF%BC%8Fadmin",
    "dots behind a fullwidth backslash": b"/api/public%EF%BC%BC..",
    "fullwidth dots": b"/api/public/%EF%BC%8E%EF%BC%8E/admin",
    "one plain and one fullwidth dot": b"/api/public/.%EF%BC%8E/admin",
    "two dot leader": b"/api/public/%E2%80%A5/admin",
    "two dot leader and an escaped parameter": b"/api/public/%E2%80%A5%3B",
    "dots and a no-break space": b"/api/public/..%C2%A0/admin",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_an_ambiguous_path_is_refused(raw):
    with pytest.raises(TargetRefused):
        canonical_path(raw)


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F, ord("/"), ord("\\")], ids=hex)
@pytest.mark.parametrize("escape", ["%%%02x", "%%%02X"], ids=["lower", "upper"])
def test_a_control_character_slash_or_backslash_is_never_escaped(escape, byte):
    with pytest.raises(TargetRefused):
        canonical_path(b"/a" + (escape % byte).encode() + b"b")


@pytest.mark.parametrize("raw", [b"", b"a=1&b=%2F", b"?x", b"a=//../;x", b"%", b'"<>{}|\\^`', b"path=/status"])
def test_a_query_passes_byte_for_byte(raw):
    assert check_query(raw) is raw


@pytest.mark.parametrize("raw", [b"a b", b"a#b", b"a\x00", b"a\n", b"\x7f", "é".encode()], ids=repr)
def test_a_query_that_would_end_the_target_is_refused(raw):
    with pytest.raises(TargetRefused):
        check_query(raw)


@pytest.mark.parametrize(
    "path", ["/", "/api/admin", "/a.b/c..d", "/.hidden", "/a@b:c", "/api/admin/", "/caf%C3%A9/", "/a%20b", "/a%25"]
)
def test_an_ordinary_path_has_one_reading(path):
    assert careless_path(path) == path


@pytest.mark.parametrize(
    ("path", "reading"),
    [
        pytest.param("/a/admin%3Bx=1/b", "/a/admin/b", id="path parameter"),
        pytest.param("/a/admin%3Fx/b", "/a/admin", id="query"),
        pytest.param("/a/admin%23/b", "/a/admin", id="fragment"),
        pytest.param("/a/admin./b", "/a/admin/b", id="dot"),
        pytest.param("/a/admin..", "/a/admin", id="dots at the end"),
        pytest.param("/a/admin%20/b", "/a/admin/b", id="space"),
        pytest.param("/a/admin.%20.", "/a/admin", id="dots and spaces"),
        pytest.param("/a/.../admin", "/a/admin", id="segment of dots"),
        pytest.param("/a%EF%BC%8Fadmin", "/a/admin", id="fullwidth slash"),
        pytest.param("/a%EF%BC%BCadmin", "/a/admin", id="fullwidth backslash"),
        pytest.param("/a/%EF%BD%81dmin", "/a/admin", id="fullwidth letter"),
        pytest.param("/a/admin%EF%BC%9B", "/a/admin", id="fullwidth semicolon"),
        pytest.param("/caf%C3%A9%3Bx", "/caf%C3%A9", id="other letters stay escaped"),
    ],
)
def test_a_path_that_a_careless_reader_would_understand_otherwise(path, reading):
    assert careless_path(path) == reading
