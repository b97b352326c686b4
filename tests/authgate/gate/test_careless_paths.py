"""Spellings that a careless service takes for a protected path, and paths that are made to be slow."""

from __future__ import annotations

import time
import timeit
from contextlib import suppress
from urllib.parse import quote

import pytest

from authgate.policy.document import PolicyDocument, Role, Route, Upstream
from authgate.policy.table import build_table
from authgate.wire.target import TargetRefused, canonical_path, careless_path, fold_case
from tests.authgate.gate.test_gate import ALICE, Reason, ask, bearer, route, snapshot

GUARDED = {"access": "roles", "roles": ("admin",)}
POLICY = snapshot(
    route("root", path="/"),
    route("secret", **GUARDED),
    route("exact", match="exact", **GUARDED),
    route("slashed", path="/slashed/", match="exact", **GUARDED),
    route("Upper", path="/Upper/Case", **GUARDED),
    route("accent", path="/%C3%A9t%C3%A9", **GUARDED),
    route("items"),
    route("docs"),
    route("Docs"),
    route("below", path="/docs/secret", **GUARDED),
    route("wiki", path="/wiki", host="gateway.test", **GUARDED),
    route("put", path="/put", methods=("PUT",), **GUARDED),
    route("both"),
    route("both-exact", path="/both", match="exact", **GUARDED),
)

SECOND = {
    "upper case": "/SECRET", "upper case above": "/Secret/x", "one letter": "/secreT", "and escaped": "/SECRET%3Bx",
    "and trimmed": "/Secret./x", "slash after an exact path": "/exact/", "both": "/EXACT/", "no slash": "/slashed",
    "lower case of a route in upper case": "/upper/case/x", "other case of one": "/UPPER/case",
    "accented": "/%C3%89T%C3%89", "accented and plain": "/%C3%89t%C3%A9/x", "fullwidth": "/%EF%BC%B3ECRET",
    "below a route of either case": "/Docs/Secret", "mixed": "/DOCS/secret/x", "on a host of its own": "/Wiki",
    "an exact path beside its prefix": "/both/",
}  # fmt: skip


@pytest.mark.parametrize("path", SECOND.values(), ids=SECOND)
def test_a_careless_spelling_of_a_closer_route_is_refused(path):
    assert (ask(path, by=POLICY).allowed, ask(path, by=POLICY).reason) == (False, Reason.BAD_TARGET)


OWN = {
    "the root": ("/", "root"), "an ordinary path": ("/other", "root"), "a directory": ("/other/", "root"),
    "upper case below a prefix": ("/items/ABC", "items"), "a slash below a prefix": ("/items/", "items"),
    "one of two spellings": ("/Docs", "Docs"), "the other": ("/docs/Index.html", "docs"),
    "digits": ("/items/1", "items"), "an escape": ("/items/%C3%89", "items"), "longer": ("/SECRETS", "root"),
    "another method": ("/PUT", "root"), "the beginning": ("/Upper", "root"), "exact and more": ("/exact/x", "root"),
    "a parameter": ("/items/a%3Bb", "items"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "name"), OWN.values(), ids=OWN)
def test_a_path_without_a_closer_route_passes(path, name):
    decision = ask(path, by=POLICY)
    assert (decision.allowed, decision.entry.route.name) == (True, name)


@pytest.mark.parametrize(
    "others",
    [(), (route("exact", match="exact"),), (route("Upper"),), (route("exact", match="exact"), route("Upper"))],
    ids=["none", "exact", "upper", "both"],
)
@pytest.mark.parametrize(
    ("path", "is_refused"),
    [
        ("/SECRET", True),
        ("/secreT/x", True),
        ("/secret./x", True),
        ("/secret%3Bx", True),
        ("/secret%20", True),
        ("/secret%23/x", True),
        ("/secret.", True),
        ("/secret", False),
        ("/other", False),
        ("/OTHER", False),
        ("/other/", False),
        ("/EXACT/x", False),
    ],
)
def test_a_careless_spelling_is_refused_whatever_other_routes_there_are(others, path, is_refused):
    policy = snapshot(route("root", path="/"), route("secret", **GUARDED), *others)
    assert (ask(path, by=policy).reason is Reason.BAD_TARGET) == is_refused


@pytest.mark.parametrize("path", ["/exact/", "/exact%3B", "/exact.", "/exact%3B/"])
def test_an_end_that_a_service_trims_is_refused_beside_an_exact_path_alone(path):
    policy = snapshot(route("root", path="/"), route("exact", match="exact", **GUARDED))
    assert ask(path, by=policy).reason is Reason.BAD_TARGET


@pytest.mark.parametrize(
    ("fields", "path"), [({"path": "/Upper"}, "/upper"), ({"path": "/end/", "match": "exact"}, "/end")]
)
def test_an_ordinary_path_is_a_careless_spelling_of_a_route_that_is_not(fields, path):
    guarded, root = route("guarded", **fields, **GUARDED), route("root", path="/")
    for routes in ((guarded, root), (root, guarded)):
        assert ask(path, by=snapshot(*routes)).reason is Reason.BAD_TARGET


@pytest.mark.parametrize("path", ["/secret", "/exact", "/slashed/", "/Upper/Case", "/%C3%A9t%C3%A9/x", "/docs/secret"])
def test_the_right_spelling_is_decided_by_its_route(path):
    assert ask(path, bearer(ALICE), by=POLICY).reason is Reason.MISSING_ROLE


def test_a_route_whose_own_path_is_read_as_that_of_another_is_refused():
    policy = snapshot(route("dotted", path="/app."), route("app", **GUARDED))
    assert ask("/app.", by=policy).reason is Reason.BAD_TARGET
    for path in ("/app.", "/App."):
        assert ask(path, by=snapshot(route("dotted", path=path))).allowed


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ({"path": "/App."}, {"path": "/app"}), ({"path": "/app."}, {"path": "/App"}),
        ({"path": "/app.", "match": "exact"}, {"path": "/app/", "match": "exact"}),
        ({"path": "/App./", "match": "exact"}, {"path": "/app", "match": "exact"}),
    ],
)  # fmt: skip
def test_nor_is_it_read_as_another_in_another_case_or_with_another_end(own, other):
    assert ask(own["path"], by=snapshot(route("dotted", **own))).allowed
    for others in ((), (route("root", path="/"),)):
        policy = snapshot(route("dotted", **own), route("app", **other, **GUARDED), *others)
        assert ask(own["path"], by=policy).reason is Reason.BAD_TARGET
        assert ask(other["path"], by=policy).reason is Reason.NO_CREDENTIAL


def test_a_route_whose_own_path_only_folds_to_plain_letters_keeps_it():
    path = "/%C5%BFecret"  # a long s
    policy = snapshot(route("Long", path="/Long"), route("s", path=path))
    assert (ask(path, by=policy).allowed, ask("/secret", by=policy).reason) == (True, Reason.NO_ROUTE)


def test_two_routes_that_differ_in_case_and_methods_keep_their_own():
    split = snapshot(route("root", path="/"), route("Docs", methods=("GET",)), route("docs", **GUARDED))
    assert ask("/Docs", by=split).entry.route.name == "Docs"
    assert ask("/Docs", by=split, method="POST").reason is Reason.BAD_TARGET


def many_routes(prefix):
    routes = tuple(Route(name=f"r{i}", path=f"/{prefix}{i}/x", access="public", upstream="api") for i in range(10_000))
    return PolicyDocument(
        upstreams={"api": Upstream(targets=("http://127.0.0.1:1",))}, roles={"a": Role()}, routes=routes
    )


@pytest.mark.parametrize("prefix", ["s", "S"])
def test_the_look_for_a_second_spelling_costs_an_ordinary_path_next_to_nothing(prefix):
    table = build_table(many_routes(prefix))
    path = f"/{prefix}77/x/y"
    entry = table.match("h", path, "GET")
    assert entry is not None
    seconds = min(timeit.repeat(lambda: table.has_closer(entry, "h", path, "GET"), number=1000, repeat=5)) / 1000
    # About 0.1 µs, and 3 µs where a policy has upper case: no walk over the routes.
    assert seconds < 30e-6


@pytest.mark.parametrize(
    ("path", "folded"),
    [("/A/b", "/a/b"), ("/%C3%89", "/%C3%A9"), ("/a%20B", "/a%20b"), ("/%CE%A3%CF%82", "/%CF%83%CF%83"), ("/", "/")],
)
def test_all_cases_fold_to_one(path, folded):
    assert fold_case(path) == fold_case(folded) == folded


MARKS = {
    "two classes": "\u0345\u0334", "one class": "\u0301", "decomposing": "\u0344", "hidden": "\u0f73\u0345",
    "halfwidth": "\uff9e", "hidden in turn": "\u0f75\u0334",
}  # fmt: skip


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
def test_more_combining_characters_than_any_text_has_are_refused(marks):
    many = (marks * 31)[:31]
    with pytest.raises(TargetRefused, match="30 combining"):
        canonical_path(("/" + quote("a" + many)).encode())
    canonical_path(("/" + quote("a" + many[:30] + "b" + many[:30])).encode())


def test_more_escapes_than_any_name_has_are_refused():
    canonical_path(b"/" + b"%3F" * 1024)
    with pytest.raises(TargetRefused, match="1024 escapes"):
        canonical_path(b"/" + b"%3F" * 1025)


def test_the_character_that_folds_to_eighteen_is_rare():
    canonical_path(("/" + quote("\ufdfa" * 20)).encode())
    with pytest.raises(TargetRefused, match=r"U\+FDFA"):
        canonical_path(("/" + quote("\ufdfa" * 21)).encode())


HOSTILE = {
    "sorted marks": "a" + "\u0345" * 250 + "\u0334" * 250,
    "hidden marks": "a" + "\u0f73" * 330 + "\u0345",
    "many short runs": ("a" + "\u0345\u0334" * 15) * 16,
    "the longest expansion": "\ufdfa" * 340,
    "syllables": "\uac00" * 340,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_path_costs_more_than_a_moment(text):
    """Nobody has been asked who they are, and no limit has counted them, when a path is read."""
    best = min(_cpu_seconds(f"/{number}{quote(text)}") for number in range(5))
    assert best < 0.005


def _cpu_seconds(path: str) -> float:
    start = time.thread_time()
    with suppress(TargetRefused):
        fold_case(careless_path(canonical_path(path.encode())))
    return time.thread_time() - start
