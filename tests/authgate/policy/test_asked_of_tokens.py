"""What a route may ask of a token: its issuers, scopes and audience."""

from __future__ import annotations

import pytest

from authgate.policy.document import PolicyDocument, Route, Upstream, validate
from authgate.policy.table import build_table


def document(access="authenticated", **fields):
    upstreams = {"api": Upstream(targets=("http://127.0.0.1:8080",))}
    route = Route(name="r", path="/", access=access, upstream="api", **fields)
    return PolicyDocument(upstreams=upstreams, routes=(route,))


def errors(**fields):
    return [str(error) for error in validate(document(**fields), own_hosts=frozenset(), auth_prefix="/auth")]


@pytest.mark.parametrize(
    "fields",
    [
        {"issuers": ("a", "A", "0", "_-", "zZ9_-" * 8)}, {"scopes": ("!", "#", "[", "]", "~", "a:b/c.d", "a" * 200)},
        {"audience": "a"}, {"audience": "https://api.test/v1"}, {"audience": "two words"}, {"audience": "a" * 400},
        {"issuers": ("a",), "scopes": ("a",), "audience": "a"},
    ],
)  # fmt: skip
def test_a_route_may_ask_for_it(fields):
    assert errors(**fields) == []
    assert build_table(document(**fields)).entries[0].asks_of_token


@pytest.mark.parametrize("slug", ["", "a" * 41, "a b", "a.b", "é", "a\n"])
def test_what_is_no_slug_of_an_issuer_is_refused(slug):
    (error,) = errors(issuers=("good", slug))
    assert error.startswith(f"routes.r.issuers: {slug!r} is not the name of a token issuer")


@pytest.mark.parametrize("scope", ["", "a b", 'a"', "a\\b", "\x1f", "\x7f", "é", "a\n", "a" * 201])
def test_what_is_no_scope_is_refused(scope):
    (error,) = errors(scopes=("good", scope))
    assert error.startswith(f"routes.r.scopes: {scope!r} is not a scope")


@pytest.mark.parametrize("audience", ["a" * 401, " a", "a ", " ", "a\x00b", "a\u2028b"])
def test_what_is_no_audience_is_refused(audience):
    (error,) = errors(audience=audience)
    assert error.startswith("routes.r.audience: at most 400 characters")


@pytest.mark.parametrize("field", ["issuers", "scopes"])
def test_one_named_twice_is_refused(field):
    assert errors(**{field: ("a", "b", "a")}) == [f"routes.r.{field}: one is named twice"]


@pytest.mark.parametrize("fields", [{"issuers": ("a",)}, {"scopes": ("a",)}, {"audience": "a"}])
def test_a_public_route_asks_for_nothing(fields):
    (field,) = fields
    (error,) = errors(access="public", **fields)
    assert error.startswith(f"routes.r.{field}: has no effect with access public")


def test_a_route_that_asks_for_nothing_is_quick_to_decide():
    assert not build_table(document()).entries[0].asks_of_token
