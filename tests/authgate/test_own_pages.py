"""The list of the gateway's own pages is that of its URLs."""

from __future__ import annotations

from django.urls import get_resolver

from authgate.own_pages import own_pages
from authgate.wire.target import is_below

# Served before Django.
WITHOUT_URL = {"/static"}


def addresses() -> list[str]:
    patterns = get_resolver().url_patterns
    return [f"/{pattern.pattern}".partition("<")[0].rstrip("/") for pattern in patterns if str(pattern.pattern)]


def test_every_url_belongs_to_a_page_of_the_list():
    pages = [page.path for page in own_pages("/auth")]
    assert [url for url in addresses() if not any(is_below(url, page) for page in pages)] == []


def test_every_page_of_the_list_has_a_url():
    pages = {page.path for page in own_pages("/auth")}
    assert {page for page in pages if not any(is_below(url, page) for url in addresses())} == WITHOUT_URL


def test_a_page_below_another_is_all_that_the_other_is():
    """Whatever asks whether a path is below a page of some kind finds both."""
    pages = own_pages("/auth")
    below = [(one, other) for one in pages for other in pages if one != other and is_below(one.path, other.path)]
    assert [(one.path, other.path) for one, other in below] == [("/dashboard/tokens", "/dashboard")]
    for one, other in below:
        assert all(mine or not theirs for mine, theirs in zip(one[1:], other[1:], strict=True))
