"""Operators who lose what they may do while their post waits for another operator. Two workers, a lock really held."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.gateway import Gateway
from tests.support.holder import Holder

SETUP = """
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session as BrowserSession
from django.test import Client
from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.policy import Role, RoleGrant
from authgate.models.trust import RevokedToken
from authgate.policy import revisions
from authgate.policy.powers import Machine
from authgate.sessions import store
from authgate.sessions.cookie import mint_cookie
from authgate.sessions.sso_accounts import username_of
from authgate.state import watcher
from datetime import timedelta
from django.utils import timezone
from tests.support.attempts import effective
from tests.support.operators import every_post, make_session, make_world

HOUR = timedelta(hours=1)
def local(name, **fields):
    user = User.objects.create(username=name, **{"is_staff": True, "is_superuser": True, **fields})
    client = Client()
    client.force_login(user)
    return f"authgate_admin={client.cookies['authgate_admin'].value}"

def by_role(name):
    provider = IdentityProvider.objects.create(slug=name, name=name, client_id="c", require_verified_email=False)
    person = Person.objects.create(provider=provider, provider_subject=name)
    User.objects.create(username=username_of(person.subject))
    role = Role.objects.create(name=name, admin="superuser")
    RoleGrant.objects.create(role=role, operator="equals", claim="op", value=name)
    return make_session(person, f"sid-{name}", {"op": name})

settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
make_world()
root = Client()
root.force_login(User.objects.get(username="root"))
# Before the operators below are there: each row would be tried with every form.
posts = [[post.path, post.data] for post in effective(root, every_post(root))]
cookies = {name: local(name) for name in LOCAL}
cookies["permission"] = local("permission", is_superuser=False)
User.objects.get(username="permission").user_permissions.set(Permission.objects.filter(codename="add_role"))
cookies["rollback"] = local("rollback", is_superuser=False)
User.objects.get(username="rollback").user_permissions.set(Permission.objects.filter(codename="change_policyrevision"))
sessions = {name: by_role(name) for name in BY_ROLE}
live = revisions.publish(Machine("test")).revision.number
loaded = watcher.load()
cookies |= {name: f"auth_token={mint_cookie(session, loaded, '')}" for name, session in sessions.items()}
result = json.loads(json.dumps([cookies, posts, live], default=str))
"""
# How each of them loses it. The name is the operator's, and the provider's and role's of those who have a role.
LOCAL = {
    "demoted": "User.objects.filter(username='demoted').update(is_superuser=False)",
    "deactivated": "User.objects.filter(username='deactivated').update(is_active=False)",
    "deleted": "User.objects.get(username='deleted').delete()",
    "password": "user = User.objects.get(username='password'); user.set_password('another one'); user.save()",
    "signed-out": "BrowserSession.objects.filter(pk=cookies['signed-out'].partition('=')[2]).delete()",
}
STAFF = {"permission": "User.objects.get(username='permission').user_permissions.clear()"}
BY_ROLE = {
    "grant-removed": "RoleGrant.objects.filter(role__name='grant-removed').delete()",
    "role-removed": "Role.objects.filter(name='role-removed').delete()",
    "role-lowered": "Role.objects.filter(name='role-lowered').update(admin='staff')",
    "session-ended": "store.end('sid-session-ended', 'test')",
    "person-deactivated": "Person.objects.filter(provider_subject='person-deactivated').update(is_active=False)",
    "provider-disabled": "IdentityProvider.objects.filter(slug='provider-disabled').update(enabled=False)",
    "account-deactivated": "User.objects.filter(username__contains='|account-deactivated').update(is_active=False)",
    "claim-taken-back": "Session.objects.filter(sid='sid-claim-taken-back').update(claims={})",
    "token-revoked": "RevokedToken.objects.create(jti='sid-token-revoked', expires_at=timezone.now() + HOUR)",
}
# The power that a superuser's edit takes away is what the rollback would bring back.
ROLLBACK = {"rollback": "RoleGrant.objects.filter(role__name='boss').delete()"}
EVERY = {**LOCAL, **STAFF, **BY_ROLE, **ROLLBACK}
CHUNK = 12  # of posts at once: as many wait for the lock itself, and none for a turn before it
PAIRS = [f"pair-{number}" for number in range(8)]


class Race:
    """A gateway with one operator for each way to lose power, and everything that a superuser can post."""

    def __init__(self, gateway: Gateway, holder: Holder) -> None:
        self.gateway, self.holder = gateway, holder
        names = (
            f"import json\nLOCAL = {[*LOCAL, *PAIRS]}\nBY_ROLE = {[*BY_ROLE, *(f'role-{name}' for name in PAIRS)]}\n"
        )
        self.cookies, self.posts, self.live = holder.run(names + SETUP)

    def post(self, operator: str, path: str, data: dict[str, Any]) -> tuple[int, str]:
        token = "t" * 32
        headers = [("Cookie", f"{self.cookies[operator]}; authgate_csrf={token}")]
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        body = urlencode({**data, "csrfmiddlewaretoken": token}, doseq=True).encode()
        answer = self.gateway.request(path, method="POST", headers=headers, body=body)
        return answer.status, answer.header("location") or ""

    def run(self, change: str, posts: list[tuple[str, str, dict[str, Any]]]) -> tuple[list[tuple[int, str]], Any, Any]:
        """The answers, all rows as the change left them, and as they are after the answers."""
        expected = self.holder.hold(change)
        with ThreadPoolExecutor(len(posts)) as pool:
            waiting = [pool.submit(self.post, *post) for post in posts]
            time.sleep(1)
            early = [post for post, answer in zip(posts, waiting, strict=True) if answer.done()]
            self.holder.release()
            answers = [answer.result() for answer in waiting]
        assert not early, [(post, answers[posts.index(post)]) for post in early]
        return answers, expected, self.holder.digest()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def race(request, tmp_path_factory, gateway_template) -> Iterator[Race]:
    data = tmp_path_factory.mktemp("races") / "data"
    if request.param == "sqlite":
        gateway = Gateway(data, template=gateway_template, workers=2)
    else:
        gateway = Gateway(data, workers=2, **request.getfixturevalue("on_postgresql")())
    with gateway, Holder(gateway) as holder:
        race = Race(gateway, holder)
        gateway.start()
        yield race


@pytest.fixture(scope="module")
def lost(race) -> tuple[dict[str, tuple[int, str]], Any, Any]:
    """Everybody posts, everybody loses at once."""
    add = ("/admin/authgate/role/add/", {"admin": "superuser"})
    posts = [(name, add[0], {"name": f"by-{name}", **add[1]}) for name in {**LOCAL, **BY_ROLE}]
    posts.append(("permission", add[0], {"name": "by-permission", "admin": "none"}))
    posts.append(("rollback", f"/admin/authgate/policyrevision/{race.live}/rollback/", {}))
    publish = "revisions.publish(Machine('another operator'))"
    answers, expected, after = race.run("\n".join([*EVERY.values(), publish]), posts)
    return {post[0]: answer for post, answer in zip(posts, answers, strict=True)}, expected, after


@pytest.mark.parametrize("operator", EVERY)
def test_whoever_lost_it_while_waiting_is_refused(lost, operator):
    status, location = lost[0][operator]
    if operator == "rollback":
        assert (status, location.startswith("/admin/authgate/policyrevision/")) == (302, True)
        assert not location.endswith("/policyrevision/")  # back to the revision, not to the list it would be on
    else:
        assert (status, location.partition("?")[0]) in ((403, ""), (302, "/admin/login/"))


def test_and_nothing_that_they_posted_was_done(lost):
    _, expected, after = lost
    assert {label: rows for label, rows in after.items() if rows != expected[label]} == {}


def test_nothing_that_can_be_posted_is_done_for_a_superuser_who_lost_it_while_waiting(race):
    for number, at in enumerate(range(0, len(race.posts), CHUNK)):
        pair = (PAIRS[number], f"role-{PAIRS[number]}")
        posts = [(pair[index % 2], *post) for index, post in enumerate(race.posts[at : at + CHUNK])]
        lose = (
            f"User.objects.filter(username={pair[0]!r}).update(is_superuser=False)\nstore.end('sid-{pair[1]}', 'test')"
        )
        answers, expected, after = race.run(lose, posts)
        assert {label: rows for label, rows in after.items() if rows != expected[label]} == {}
        assert {(status, location.partition("?")[0]) for status, location in answers} <= {
            (403, ""), (302, "/admin/login/"),
        }  # fmt: skip


def test_whoever_lost_nothing_is_served_after_waiting(race):
    posts = [(name, "/admin/authgate/role/add/", {"name": f"by-{name}", "admin": "superuser"})
             for name in (PAIRS[-1], f"role-{PAIRS[-1]}")]  # fmt: skip
    answers, expected, after = race.run("", posts)
    assert [answer for answer in answers if answer != (302, "/admin/authgate/role/")] == []
    assert len(after["authgate.Role"]) == len(expected["authgate.Role"]) + 2


def test_the_posts_are_those_of_every_model(race):
    assert len(race.posts) > 30
    assert len({json.dumps(post) for post in race.posts}) == len(race.posts)
