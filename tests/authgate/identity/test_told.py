"""What claims become in a header: nothing that a reader could take for more than one value, or for another."""

from __future__ import annotations

import base64
import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.identity.told import build_told_headers
from authgate.policy.document import IdentityValue, PolicyDocument, Route, Upstream
from authgate.policy.table import build_table
from authgate.policy.told import told_of
from tests.authgate.identity.test_headers import identity


def route(name="r", path="/", **headers):
    return Route(name=name, path=path, access="public", upstream="api", identity_headers=headers)


def value(source, **fields):
    claims = MappingProxyType(fields.pop("claims", {}))
    return dict(build_told_headers(told_of(route(X=source)), identity(claims=claims, **fields)))[b"x"]


def joined(item, join=","):
    return value(IdentityValue(claim="g", join=join), claims={"g": item})


@pytest.mark.parametrize(
    ("source", "told"),
    [("subject", b"alice"), ("email", b"a@b.test"), ("name", b"A"), ("roles", b'["a", "b"]'),
     (IdentityValue(roles=True, join=", "), b"a, b"), (IdentityValue(roles=True), b'["a", "b"]'),
     (IdentityValue(basic_from="email"), b"Basic " + base64.b64encode(b"a@b.test:"))],
    ids=repr,
)  # fmt: skip
def test_what_a_source_gives(source, told):
    assert value(source, roles=frozenset(("b", "a"))) == told


@pytest.mark.parametrize(
    ("claim", "told"),
    [("a", b"a"), ("\u00e9", "\u00e9".encode()), (7, b"7"), (True, b"true"), (None, b""), ("", b""),
     (["a", "b,c"], b'["a", "b,c"]'),
     ({"a": 1}, b'{"a": 1}'), ("a\r\nX-Admin: 1", b""), (" a", b""), ("a\x85", b""), (["\r\n"], b'["\\r\\n"]')],
    ids=repr,
)  # fmt: skip
def test_what_a_claim_becomes(claim, told):
    assert value(IdentityValue(claim="g"), claims={"g": claim}) == told


@pytest.mark.parametrize(
    ("claim", "told"),
    [(["a", "b"], b"a,b"), ("a", b"a"), (["a", "b,admin", "c"], b"a,c"), ("a,admin", b""), ([",admin"], b""),
     (["a\r\nX: y", "b"], b"b"), (["a", " b", "", None, {"x": 1}, 3], b"a,3"), ([], b""), (None, b"")],
    ids=repr,
)  # fmt: skip
def test_an_item_that_could_be_read_as_several_is_left_out(claim, told):
    assert joined(claim) == told


def test_the_space_around_a_separator_hides_none_in_an_item():
    assert joined(["a", "b,admin"], ", ") == b"a"
    assert joined(["a", "b admin"], " ") == b"a"
    assert joined(["a", "x:", ":admin"], "::") == b"a"


def test_a_role_of_a_token_is_no_two_roles():
    assert value(IdentityValue(roles=True, join=","), roles=frozenset(("user", "x,admin"))) == b"user"


@pytest.mark.parametrize("name", ["admin:x", "", "a\nb", " a"])
def test_a_user_name_that_basic_cannot_carry_is_none(name):
    assert value(IdentityValue(basic_from="preferred_username"), claims={"preferred_username": name}) == b""


_ANY = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8)
_SOURCES = st.sampled_from(
    [IdentityValue(claim="g"), IdentityValue(claim="g", join=","), IdentityValue(basic_from="g")]
)


@given(_ANY | st.dictionaries(st.text(), _ANY), _SOURCES)
def test_no_claim_ends_its_header(claim, source):
    told = value(source, claims={"g": claim})
    assert not set(told) & {*range(0x20), 0x7F}
    assert told == told.strip()


@given(st.lists(st.text()))
def test_who_splits_finds_nothing_that_was_not_there(groups):
    assert set(filter(None, joined(groups).decode().split(","))) <= set(groups)


def table(*routes):
    return build_table(PolicyDocument(upstreams={"api": Upstream(targets=("http://up.test",))}, routes=routes))


def test_what_one_route_sets_no_route_takes_from_clients():
    entries = table(route("a", "/a", **{"X-Login": "email"}), route("b", "/b")).entries
    assert [entry.unsendable for entry in entries] == [{b"x-login"}] * 2


def test_claims_are_named_once():
    told = table(route(A=IdentityValue(claim="c"), B=IdentityValue(basic_from="d"), C="email")).told_claims
    assert told == {"c", "d"}


def test_a_token_is_not_filled_in_with_the_rest():
    assert build_told_headers(told_of(route(X="access_token")), identity()) == []


def test_json_is_ascii():
    assert json.loads(value(IdentityValue(claim="g"), claims={"g": ["\u2028\u00e9"]})) == ["\u2028\u00e9"]
