"""The same name of a group at two identity providers, one of which lets strangers choose it."""

from __future__ import annotations

import pytest

from tests.support.policies import demo_policy
from tests.support.sessions import make_session, new_cookie

GROUPS = {"groups": ["platform-admins"]}
CONDITION = "claim: groups, contains: platform-admins"


@pytest.fixture
def site(start_gateway, upstream):
    """Where only the platform-admins of okta are admins."""
    policy = demo_policy(upstream.target)
    assert policy.count(CONDITION) == 1
    return start_gateway(policy=policy.replace(CONDITION, f"provider: okta, {CONDITION}"))


def statuses(site, slug):
    """Of a request whose cookie is renewed on the way, and of one with the new cookie."""
    made = make_session(site, slug=slug, claims=GROUPS, cookie_age=400)
    renewing = site.get("/api/admin", headers=made.headers)
    cookie = new_cookie(renewing).partition(";")[0]
    return renewing.status, site.get("/api/admin", headers=[("Cookie", cookie)]).status


def test_a_group_counts_only_where_it_is_trusted(site):
    assert statuses(site, "okta") == (200, 200)
    assert statuses(site, "github") == (403, 403)
    # What looks like a person of that provider but never signed in.
    assert site.get("/api/admin", token=site.mint("okta|alice", claims={"groups": "platform-admins"})).status == 403
