"""A stored grant that no longer validates, as an earlier version or a database shell may have left it."""

from __future__ import annotations

import json

import pytest

from authgate.models.policy import PolicyRevision
from authgate.state import watcher

pytestmark = pytest.mark.django_db
SOUND = {"role": "user", "when": {"authenticated": True}}


def roles_of_everybody(*grants):
    text = json.dumps({"version": 1, "roles": {"user": {}, "admin": {}}, "grants": grants})
    PolicyRevision.objects.create(number=1, author="test", document=text)
    return watcher.load().grants.roles_of({"groups": ["staff"], "": "staff"})


FAULTY = {
    "everybody and a claim": {"authenticated": True, "claim": "groups", "contains": "admins"},
    "everybody and a claim they have": {"authenticated": True, "claim": "groups", "contains": "staff"},
    "two conditions": {"claim": "groups", "contains": "staff", "equals": "x"},
    "a claim without a name": {"claim": "", "contains": "staff"},
    "no condition": {},
}


@pytest.mark.parametrize("when", FAULTY.values(), ids=FAULTY)
def test_a_faulty_grant_grants_nothing_and_the_sound_ones_go_on(when):
    assert roles_of_everybody({"role": "admin", "when": when}, SOUND) == {"user"}


def test_a_grant_of_an_unknown_role_grants_nothing():
    assert roles_of_everybody({"role": "gone", "when": {"authenticated": True}}, SOUND) == {"user"}


def test_a_grant_that_is_stored_twice_still_grants_once():
    assert roles_of_everybody(SOUND, SOUND) == {"user"}
