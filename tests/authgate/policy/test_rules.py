from __future__ import annotations

import time

import msgspec
import pytest

from authgate.policy.document import Grant, PolicyDocument, Role, Route, Upstream, When
from authgate.policy.errors import PolicyError
from authgate.policy.rules import GrantRules, evaluate_access
from authgate.policy.table import build_table
from authgate.reason import Reason
from authgate.request import OWN_ISSUER, Identity


def roles(claims, **when):
    return GrantRules((Grant(role="r", when=When(**when)),)).roles_of(claims)


@pytest.mark.parametrize(
    ("claims", "value"),
    [
        pytest.param({"groups": ["a", "b"]}, "b", id="in-list"),
        pytest.param({"groups": ("a", "b")}, "b", id="in-tuple"),
        pytest.param({"groups": "b"}, "b", id="lone-value"),
        pytest.param({"groups": [7]}, 7, id="number"),
        pytest.param({"groups": 7}, 7, id="lone-number"),
    ],
)
def test_contains_grants(claims, value):
    assert roles(claims, claim="groups", contains=value) == {"r"}


@pytest.mark.parametrize(
    ("claims", "value"),
    [
        pytest.param({}, "b", id="claim-missing"),
        pytest.param({"groups": []}, "b", id="empty-list"),
        pytest.param({"groups": "abc"}, "b", id="no-substrings"),
        pytest.param({"groups": "a b c"}, "b", id="no-words-in-other-claims"),
        pytest.param({"groups": ["abc"]}, "b", id="no-substrings-of-items"),
        pytest.param({"groups": ["B"]}, "b", id="case"),
        pytest.param({"groups": ["b "]}, "b", id="spaces"),
        pytest.param({"groups": {"b": 1}}, "b", id="object-keys"),
        pytest.param({"groups": [["b"]]}, "b", id="nested-list"),
        pytest.param({"groups": None}, "b", id="null"),
        pytest.param({"groups": [None, True, 1.0]}, 1, id="lookalikes-of-one"),
        pytest.param({"groups": ["1"]}, 1, id="text-is-no-number"),
        pytest.param({"Groups": ["b"]}, "b", id="claim-name-case"),
    ],
)
def test_contains_does_not_grant(claims, value):
    assert roles(claims, claim="groups", contains=value) == set()


@pytest.mark.parametrize("claim", ["scope", "scp"])
def test_a_scope_is_a_list_of_words(claim):
    assert roles({claim: "read write"}, claim=claim, contains="write") == {"r"}
    assert roles({claim: "read:write rewrite"}, claim=claim, contains="write") == set()


@pytest.mark.parametrize("value", ["x", 7, True, False, 0])
def test_equals_grants_on_the_very_value(value):
    assert roles({"c": value}, claim="c", equals=value) == {"r"}


@pytest.mark.parametrize(
    ("claim", "value"),
    [(1, True), (True, 1), (0, False), (1.0, 1), ("1", 1), ("true", True), (["x"], "x"), ("X", "x"), (None, False)],
)
def test_equals_does_not_grant_on_a_lookalike(claim, value):
    assert roles({"c": claim}, claim="c", equals=value) == set()


def test_authenticated_grants_to_everybody():
    assert roles({}, authenticated=True) == {"r"}


@pytest.mark.parametrize(
    "condition", [{"authenticated": True}, {"claim": "g", "contains": "x"}, {"claim": "g", "equals": "x"}]
)
def test_a_grant_of_one_provider_is_for_who_signed_in_there(condition):
    rules = GrantRules((Grant(role="r", when=When(provider="okta", **condition)),))
    assert rules.roles_of({"g": "x"}, "okta") == {"r"}
    assert rules.asked_of({"g": "x"}, "github") == {}
    for elsewhere in ("github", "Okta", "okt", "okta2", ""):
        assert rules.roles_of({"g": "x"}, elsewhere) == set()


@pytest.mark.parametrize("condition", [{"authenticated": True}, {"claim": "g", "contains": "x"}])
def test_a_grant_without_a_provider_is_for_who_signed_in_anywhere(condition):
    rules = GrantRules((Grant(role="r", when=When(**condition)),))
    assert [rules.roles_of({"g": "x"}, provider) for provider in ("", "okta")] == [{"r"}, {"r"}]


def test_a_condition_without_a_value_holds_for_nobody():
    assert roles({"g": None}, claim="g") == set()


ASKED = GrantRules(
    (
        Grant(role="a", when=When(claim="org", equals="x")),
        Grant(role="b", when=When(claim="org", equals="y")),
        Grant(role="c", when=When(claim="groups", contains="x")),
        Grant(role="d", when=When(claim="groups", contains="x", provider="okta")),
        Grant(role="e", when=When(claim="groups", contains=1)),
        Grant(role="f", when=When(claim="groups", contains="only-okta", provider="okta")),
        Grant(role="g", when=When(claim="scope", contains="read")),
        Grant(role="h", when=When(authenticated=True)),
    )
)


@pytest.mark.parametrize(
    ("claims", "provider", "asked"),
    [
        ({"org": "y"}, "", {"org": "y"}),
        ({"org": "z", "name": "x"}, "", {}),
        ({"org": None, "groups": None}, "", {}),
        ({"groups": ["z", "x", "x"]}, "okta", {"groups": ["x"]}),
        ({"groups": "x"}, "", {"groups": ["x"]}),
        ({"groups": [["x"], {"x": 1}, None, 1.0, True]}, "", {}),
        ({"groups": [["x"], 1, "x"]}, "", {"groups": ["x", 1]}),
        ({"groups": ["only-okta"]}, "okta", {"groups": ["only-okta"]}),
        ({"groups": ["only-okta"]}, "github", {}),
        ({"scope": "write read"}, "", {"scope": ["read"]}),
    ],
)
def test_only_what_grants_ask_for_is_kept_of_claims_and_gives_the_same_roles(claims, provider, asked):
    assert ASKED.asked_of(claims, provider) == asked
    assert ASKED.roles_of(asked, provider) == ASKED.roles_of(claims, provider)


def test_grants_add_up():
    rules = GrantRules(
        (
            Grant(role="a", when=When(authenticated=True)),
            Grant(role="b", when=When(claim="g", contains="x")),
            Grant(role="c", when=When(claim="g", contains="y")),
            Grant(role="d", when=When(claim="g", contains="z")),
        )
    )
    assert rules.roles_of({"g": ["x", "y"]}) == {"a", "b", "c"}


def test_only_the_grants_that_have_an_error_are_skipped():
    places = ((), ("routes", 0, "path"), ("grants",), ("grants", 1, "role"), ("grants", 2))
    grants = tuple(Grant(role=role, when=When(authenticated=True)) for role in "abc")
    assert GrantRules(grants, [PolicyError(place, "wrong") for place in places]).roles_of({}) == {"a"}


def entry(**fields):
    route = msgspec.structs.replace(Route(name="r", path="/", access="public", upstream="u"), **fields)
    document = PolicyDocument(
        upstreams={"u": Upstream(targets=("http://a",))}, roles={"a": Role(), "b": Role()}, routes=(route,)
    )
    return build_table(document).entries[0]


def somebody(*roles):
    return Identity("s", "i", int(time.time()) + 60, by_cookie=False, roles=frozenset(roles))


@pytest.mark.parametrize(
    ("fields", "identity", "reason"),
    [
        pytest.param({}, None, Reason.PUBLIC, id="public"),
        pytest.param({"access": "authenticated"}, None, Reason.NO_CREDENTIAL, id="nobody"),
        pytest.param({"access": "authenticated"}, somebody(), Reason.AUTHENTICATED, id="somebody"),
        pytest.param({"access": "roles", "roles": ("a",)}, None, Reason.NO_CREDENTIAL, id="nobody-for-roles"),
        pytest.param({"access": "roles", "roles": ("a",)}, somebody(), Reason.MISSING_ROLE, id="no-role"),
        pytest.param({"access": "roles", "roles": ("a",)}, somebody("b"), Reason.MISSING_ROLE, id="other-role"),
        pytest.param({"access": "roles", "roles": ("a",)}, somebody("A", "a "), Reason.MISSING_ROLE, id="lookalikes"),
        pytest.param({"access": "roles", "roles": ("a", "b")}, somebody("b"), Reason.ROLE, id="any-of-them"),
        pytest.param({"access": "roles", "roles": ()}, somebody("a"), Reason.MISSING_ROLE, id="no-roles-named"),
        pytest.param({"access": "everyone"}, somebody("a"), Reason.ROUTE_INVALID, id="unknown-access"),
        pytest.param({"upstream": "gone"}, None, Reason.ROUTE_INVALID, id="unknown-upstream"),
        pytest.param({"enabled": False}, somebody("a"), Reason.ROUTE_DISABLED, id="disabled"),
    ],
)
def test_access(fields, identity, reason):
    assert evaluate_access(entry(**fields), identity) is reason


def bearer_of(slug, audiences=(), scopes=()):
    return Identity(
        "s", "i", int(time.time()) + 60, by_cookie=False, issuer_slug=slug, audiences=frozenset(audiences),
        scopes=frozenset(scopes),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "identity", "reason"),
    [
        pytest.param({"issuers": ("a", "b")}, bearer_of("b"), Reason.AUTHENTICATED, id="issuer"),
        pytest.param({"issuers": ("a",)}, bearer_of("b"), Reason.ISSUER_NOT_TAKEN, id="another-issuer"),
        pytest.param({"issuers": ("a",)}, bearer_of(OWN_ISSUER), Reason.ISSUER_NOT_TAKEN, id="not-the-gateways-own"),
        pytest.param({"issuers": (OWN_ISSUER,)}, bearer_of(OWN_ISSUER), Reason.AUTHENTICATED, id="the-gateways-own"),
        pytest.param({"audience": "x"}, bearer_of("a", ("w", "x")), Reason.AUTHENTICATED, id="audience"),
        pytest.param({"audience": "x"}, bearer_of("a", ("w",)), Reason.WRONG_AUDIENCE, id="another-audience"),
        pytest.param({"audience": "x"}, bearer_of(OWN_ISSUER), Reason.ISSUER_NOT_TAKEN, id="audience-of-a-session"),
        pytest.param({"scopes": ("r", "w")}, bearer_of("a", (), "rwx"), Reason.AUTHENTICATED, id="scopes"),
        pytest.param({"scopes": ("r", "w")}, bearer_of("a", (), "r"), Reason.INSUFFICIENT_SCOPE, id="a-scope-missing"),
        pytest.param({"access": "roles", "roles": ("a",), "scopes": ("r",)}, bearer_of("a"), Reason.INSUFFICIENT_SCOPE,
                     id="scope-before-role"),
        pytest.param({"access": "roles", "roles": ("a",), "scopes": ("r",)}, bearer_of("a", (), "r"),
                     Reason.MISSING_ROLE, id="a-scope-is-no-role"),
        pytest.param({"scopes": ("r",)}, None, Reason.NO_CREDENTIAL, id="nobody"),
        pytest.param({"scopes": ("r",), "enabled": False}, bearer_of("a"), Reason.ROUTE_DISABLED, id="disabled"),
        pytest.param({"access": "public", "scopes": ("r",)}, bearer_of("a"), Reason.PUBLIC, id="public"),
    ],
)  # fmt: skip
def test_what_a_route_asks_of_a_token(fields, identity, reason):
    assert evaluate_access(entry(**{"access": "authenticated", **fields}), identity) is reason
