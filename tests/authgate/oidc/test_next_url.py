from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.oidc.next_url import DEFAULT, safe_next

GOOD = [
    "/", "/wiki", "/wiki/", "/wiki?page=1&x=%2F%2Fevil.example", "/a/b%20c", "/a/%C3%A9", "/search?q=a+b|c[0]={x}",
    "/a?back=https://evil.example/", "/a?b=%0a%5c", "/wiki//page", "/authority", "/a#part", "/~me/@you:1;v=2,3",
    "/a?path=C:\\temp", '/a?q="x"<y>', "/files/%E3%80%80x.pdf", "/files/a%C2%A0b.pdf",
]  # fmt: skip
BAD = [
    "", " ", "wiki", "?a", "#a", "//evil.example", "///evil.example", "////evil.example", "/\\evil.example",
    "\\/evil.example", "\\\\evil.example", "/\\/evil.example", "https://evil.example", "HTTPS:evil.example",
    "http:/evil.example", "https:///evil.example", "javascript:alert(1)", "data:text/html,x", "/\t/evil.example",
    "/\n/evil.example", "/\r\nLocation: https://evil.example", " //evil.example", "/ /evil.example",
    "\x00//evil.example", "/\x00/evil.example", "/%09/evil.example", "/%0a/evil.example", "/%0d%0aX: y",
    "/%2f/evil.example", "/%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%5Cevil.example",
    "/%252fevil.example", "/%25252fevil.example", "/.//evil.example", "/..//evil.example", "/a/..//evil.example",
    "/%2e%2e//evil.example", "/%2e/%2fevil.example", "/./\\evil.example", "/;//../..//evil", "//evil.example@gateway",
    "/\u2028/evil.example", "/\u3000/evil.example", "/\uff0fevil.example", "/\u2044evil.example", "/\u00a0/evil",
    "@evil.example", ".evil.example", "%2f%2fevil.example", "/%20/evil.example", "/%e3%80%80/evil", "/%ff/evil",
    "/%c2%a0/evil.example", "/\\?a", "/a\\b", "/a?b#c\\d", "/a?\x7f", "/a?\u00e9", "/\u00a0", "/%e2%80%a8/evil",
    "/%ef%bb%bf/evil",
    "/auth/login", "/auth/callback/test?code=1", "/auth", "/%61uth/login", "/auth/logout", "/" + "a" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_a_path_on_this_origin_is_kept_as_it_is(text: str) -> None:
    assert safe_next(text) == text


@pytest.mark.parametrize("text", BAD)
def test_anything_else_leads_to_the_dashboard(text: str) -> None:
    assert safe_next(text) == DEFAULT


@given(st.text(alphabet="/\\%25fFcC.eE:@aht ps?#\t\n", max_size=30))
def test_what_is_kept_never_names_a_host(text: str) -> None:
    kept = safe_next(text)

    assert kept.startswith("/") and not kept.startswith("//") and "\\" not in kept.partition("?")[0]
    assert not any(character <= " " for character in kept)
