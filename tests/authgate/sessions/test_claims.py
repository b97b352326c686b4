from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from authgate.policy.document import Grant, When
from authgate.policy.rules import GrantRules

NAMES = st.sampled_from(["groups", "scope", "scp", "country"])
TEXTS = st.sampled_from(["a", "b", "a b", "1"])
VALUES = st.one_of(TEXTS, st.sampled_from([0, 1, True, False, None]))
CLAIMS = st.dictionaries(NAMES, st.one_of(VALUES, st.lists(VALUES, max_size=5)))
PROVIDERS = st.sampled_from(["", "okta", "github"])
WHENS = st.one_of(
    st.builds(When, provider=PROVIDERS, claim=NAMES, contains=st.one_of(TEXTS, st.sampled_from([0, 1]))),
    st.builds(When, provider=PROVIDERS, claim=NAMES, equals=st.one_of(TEXTS, st.sampled_from([0, 1, True, False]))),
)


@given(CLAIMS, st.lists(WHENS, max_size=8), PROVIDERS)
def test_the_claims_that_grants_ask_about_give_the_same_roles_as_all_claims(claims, whens, provider):
    rules = GrantRules([Grant(role=f"r{number}", when=when) for number, when in enumerate(whens)])
    assert rules.roles_of(rules.asked_of(claims, provider), provider) == rules.roles_of(claims, provider)


@given(CLAIMS, st.lists(WHENS, max_size=8), PROVIDERS)
def test_nothing_is_asked_that_is_not_there(claims, whens, provider):
    rules = GrantRules([Grant(role="r", when=when) for when in whens])
    assert set(rules.asked_of(claims, provider)) <= {when.claim for when in whens} & set(claims)
