"""docs/reasons.md has every reason that an answer can name, with its status, and no other."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from authgate.pages.sign_in_pages import _FAILURES
from authgate.reason import BY_GATEWAY, LETTING_IN, Reason
from authgate.wire.refusal import refusal_of
from tests.support.gateway import ROOT

PAGE = ROOT / "docs" / "reasons.md"
_ROW = re.compile(r"\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|")
# Of Django's own pages (authgate/pages/views.py), which name the kind of refusal alone.
OF_PAGES = {"bad_request": 400, "forbidden": 403, "not_found": 404, "rate_limited": 429, "unavailable": 503}

ROWS = {row[1]: row for row in map(_ROW.fullmatch, PAGE.read_text().splitlines()) if row}


def reasons() -> dict[str, int | None]:
    return {
        **OF_PAGES,
        **{code: failure.status for code, failure in _FAILURES.items()},
        **{reason.value: None if reason in LETTING_IN | BY_GATEWAY else refusal_of(reason).status for reason in Reason},
    }


def test_the_page_has_every_reason_and_no_other():
    assert sorted(ROWS) == sorted(reasons())


def test_the_page_has_each_once():
    codes = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert [code for code, count in Counter(codes).items() if count > 1] == []
    assert len(codes) == len(ROWS)  # none is of another form


@pytest.mark.parametrize("code", sorted(reasons()))
def test_the_page_names_the_status(code):
    status = reasons()[code]
    assert ROWS[code][2] == ("as the service answers" if status is None else str(status))
