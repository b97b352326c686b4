"""Who may publish what: the rule is the operation's own, whoever calls it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from authgate.models.policy import PolicyRevision, RoleGrant
from authgate.policy import revisions
from authgate.policy.document import parse_yaml
from authgate.policy.powers import Machine, PowersRefused, api_access, highest_access
from tests.support.admin import POLICY

OPEN = POLICY.replace('{description: "May use the admin endpoints"}', "{admin: superuser}")


@dataclass
class Somebody:
    may: str
    name: str = "somebody"

    def access(self):
        return self.may


def refused(operation):
    """The lines of the refusal; what was live stays live."""
    before = revisions.latest().number
    with pytest.raises(PowersRefused) as caught:
        operation()
    assert revisions.latest().number == before
    return [str(error) for error in caught.value.errors]


@pytest.fixture(autouse=True)
def live(db):
    """1 opens /admin/ to nobody, 2 to admins; 2 is live."""
    for text in (POLICY, OPEN):
        revisions.replace(parse_yaml(text), Machine("test"))


ROLES = "only a superuser may change what a role opens in /admin/"
ADMINS = "only a superuser may change who has a role that opens /admin/"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("contains: platform-admins", "contains: everybody", [f"grants: {ADMINS}", f"grants[2].role: {ADMINS}"]),
        ("equals: 7", "equals: true", [f"grants: {ADMINS}", f"grants[2].role: {ADMINS}"]),
        ("equals: 7", 'equals: "7"', [f"grants: {ADMINS}", f"grants[2].role: {ADMINS}"]),
        ("equals: 7", "equals: 7, provider: corp", [f"grants: {ADMINS}", f"grants[2].role: {ADMINS}"]),
        ("user, when: {auth", "admin, when: {auth", [f"grants[2].role: {ADMINS}"]),
        ("  - {role: admin, when: {claim: level, equals: 7}}\n", "", [f"grants: {ADMINS}"]),
        ("unused: {}", "unused: {admin: staff}", [f"roles.unused.admin: {ROLES}"]),
    ],
    ids=["value", "true-for-7", "text-for-7", "provider", "role", "removed", "role-opens"],
)  # fmt: skip
def test_staff_replaces_the_policy_by_none_that_opens_admin_otherwise(old, new, lines):
    document = parse_yaml(OPEN.replace(old, new))
    assert document != parse_yaml(OPEN) or "true" in new
    assert refused(lambda: revisions.replace(document, Somebody("staff"))) == lines


def test_staff_publishes_no_rows_in_which_true_became_one():
    RoleGrant.objects.filter(operator="equals").update(value=True)
    revisions.publish(Machine("test"))
    RoleGrant.objects.filter(operator="equals").update(value=1)
    assert refused(lambda: revisions.publish(Somebody("staff"))) == [f"grants: {ADMINS}", f"grants[2].role: {ADMINS}"]


def test_staff_rolls_back_to_no_policy_that_opens_admin_otherwise():
    assert len(refused(lambda: revisions.rollback(1, Somebody("staff")))) == 2


def test_staff_changes_what_opens_no_admin():
    assert (
        revisions.replace(parse_yaml(OPEN.replace("  unused: {}\n", "")), Somebody("staff")).revision.author
        == "somebody"
    )


def test_the_order_of_grants_changes_nothing():
    lines = OPEN.splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "platform-admins" in line)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    assert revisions.replace(parse_yaml("".join(lines)), Somebody("staff")).revision.number == 2


@pytest.mark.parametrize("operation", ["publish", "replace", "rollback"])
def test_somebody_without_access_publishes_nothing(operation):
    calls = {
        "publish": lambda: revisions.publish(Somebody("none")),
        "replace": lambda: revisions.replace(parse_yaml(OPEN), Somebody("none")),
        "rollback": lambda: revisions.rollback(2, Somebody("none")),
    }
    assert refused(calls[operation]) == ["you may no longer change the policy: sign in again"]


def test_a_superuser_publishes_everything():
    assert revisions.rollback(1, Somebody("superuser")).revision.number == 3


def test_beside_a_live_policy_that_cannot_be_read_staff_changes_nothing():
    PolicyRevision.objects.filter(number=2).update(document='{"roles": 1}')
    with pytest.raises(revisions.PolicyInvalid, match="the live policy cannot be read"):
        revisions.publish(Somebody("staff"))


@pytest.mark.parametrize("operation", [revisions.publish, revisions.replace, revisions.rollback])
def test_no_operation_can_be_called_without_an_actor(operation):
    with pytest.raises(TypeError, match="actor"):
        operation(*[None] * (operation.__code__.co_argcount - len(operation.__defaults__ or ()) - 1))


API = OPEN.replace("unused: {}", "unused: {}\n  robot: {admin: api}")
API_ROLE = "only a superuser may change what a role opens in the API"
API_GRANT = "only a superuser may change who has a role that opens the API"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("robot: {admin: api}", "robot: {}", [f"roles.robot.admin: {API_ROLE}"]),
        (
            "robot: {admin: api}", "robot: {admin: staff}",
            [f"roles.robot.admin: {ROLES}", f"roles.robot.admin: {API_ROLE}"],
        ),
        ("unused: {}", "unused: {admin: api}", [f"roles.unused.admin: {API_ROLE}"]),
        ("user, when: {auth", "robot, when: {auth", [f"grants[2].role: {API_GRANT}"]),
    ],
    ids=["closed", "raised", "opened", "granted"],
)  # fmt: skip
def test_staff_changes_no_role_that_opens_the_api(old, new, lines):
    revisions.replace(parse_yaml(API), Machine("test"))
    assert refused(lambda: revisions.replace(parse_yaml(API.replace(old, new)), Somebody("staff"))) == lines


def test_a_role_opens_the_api_or_the_admin_and_never_both():
    document = parse_yaml(API)
    assert (highest_access(document, ["robot"]), api_access(document, ["robot"])) == ("none", "staff")
    assert (highest_access(document, ["admin"]), api_access(document, ["admin"])) == ("superuser", "none")
    assert (highest_access(document, ["gone"]), api_access(document, ["gone"])) == ("none", "none")
