"""Requests for whole folders: who counts as let in below, by another credential's terms, and how far is looked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from authgate.policy.below import PathsBelow
from authgate.policy.schema import Cors
from authgate.reason import Reason
from authgate.wire.target import fold_case
from tests.authgate.gate.test_gate import ADMIN, ALICE, ask, bearer, route, session, snapshot

OTHER = (b"origin", b"https://app.test")
CORS = Cors(origins=("https://app.test",), credentials=True)


def test_another_origin_needs_leave_for_what_lies_below_as_well():
    top, below = (
        route("top", access="authenticated", cors=CORS),
        route("below", path="/top/below", access="authenticated"),
    )
    with_leave = replace(below, cors=CORS)
    for routes, reason in (((top, below), Reason.PROTECTED_BELOW), ((top, with_leave), Reason.AUTHENTICATED)):
        by = snapshot(*routes)
        assert ask("/top", session(ALICE), OTHER, method="DELETE", by=by).reason is reason
        assert ask("/top", bearer(ALICE), OTHER, method="DELETE", by=by).reason is Reason.AUTHENTICATED


@pytest.mark.parametrize(
    "fields", [{"issuers": ("other",)}, {"scopes": ("write",)}, {"audience": "x"}, {"upstream": "gone"}], ids=str
)
def test_what_the_route_below_asks_of_a_token_counts(fields):
    by = snapshot(route("top", access="authenticated"), route("b", path="/top/b", access="authenticated", **fields))
    assert ask("/top", bearer(ADMIN), method="DELETE", by=by).reason is Reason.PROTECTED_BELOW
    assert ask("/top/x", bearer(ADMIN), method="DELETE", by=by).reason is Reason.AUTHENTICATED


@pytest.mark.parametrize(
    "method", ["MERGE", "BCOPY", "BMOVE", "BDELETE", "BPROPFIND", "BPROPPATCH", "UPDATE", "LABEL", "DELETE"]
)
def test_rare_methods_count_too(method):
    """Some parsers let no more than a list of methods pass, and that of HTTP/2 lets all."""
    by = snapshot(route("top"), route("below", path="/top/below", access="roles", roles=("admin",)))
    assert ask("/top", method=method, by=by).reason is Reason.PROTECTED_BELOW


@pytest.mark.parametrize("method", ["COPY", "MOVE", "BCOPY", "BMOVE"])
def test_what_is_copied_stays_on_its_route(method):
    by = snapshot(route("top", path="/top"), route("other", path="/other"))
    away = (b"destination", b"/other/x")
    assert ask("/top/a", away, method=method, by=by).reason is Reason.WRONG_DESTINATION


@pytest.mark.parametrize(("count", "reason"), [(1000, Reason.PUBLIC), (1001, Reason.PROTECTED_BELOW)])
def test_no_more_is_looked_at_than_a_request_may_cost(count, reason):
    by = snapshot(route("top"), *[route(f"r{number}", path=f"/top/r{number}") for number in range(count)])
    assert ask("/top", method="DELETE", by=by).reason is reason


def test_the_log_says_which_route_it_was_and_the_refusal_does_not():
    by = snapshot(route("top"), route("board", path="/top/a/board", access="roles", roles=("admin",)))
    decision = ask("/top/a", method="DELETE", by=by)
    assert (decision.rule, decision.allowed) == ("'board' lies below", False)


SEGMENTS = st.lists(st.sampled_from(["a", "A", "b", "ab", "%C3%A9", "%C3%89", "-"]), max_size=4)
PATHS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))


@given(st.lists(PATHS, max_size=12), PATHS, st.booleans())
def test_all_that_lies_below_is_found_and_nothing_else(paths, path, slash):
    found = PathsBelow([route(str(number), path=each) for number, each in enumerate(paths)])
    start = fold_case(path).rstrip("/") + "/"
    wanted = [
        number for number, each in enumerate(paths) if fold_case(each).startswith(start) and fold_case(each) != start
    ]
    assert sorted(found.find("gateway.test", path + "/" * slash)) == wanted
