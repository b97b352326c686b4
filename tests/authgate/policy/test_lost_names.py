"""A policy that lacks what tokens name: said when it is published, and by `check`."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.utils import timezone

from authgate.checks.database import ROWS
from authgate.models.people import IdentityProvider, Person
from authgate.models.service_tokens import ServiceToken
from authgate.policy import revisions
from authgate.policy.document import Role, parse_yaml, to_yaml
from authgate.policy.powers import Machine
from authgate.state import service_tokens
from authgate.state.service_tokens import Wanted
from tests.support.policies import demo_policy

pytestmark = pytest.mark.django_db
ACTOR = Machine("test")
DEMO = parse_yaml(demo_policy("http://127.0.0.1:8080"))
BEFORE = msgspec.structs.replace(DEMO, roles={**DEMO.roles, "builder": Role()})
AFTER = msgspec.structs.replace(DEMO, routes=tuple(route for route in DEMO.routes if route.name != "public"))
ROLE = "the service token 'ci' names the role 'builder', which is no longer there"
ROUTE = "the service token 'ci' names the route 'public', which is no longer there"


@pytest.fixture
def token(db):
    revisions.replace(BEFORE, ACTOR)
    return service_tokens.create(Wanted("ci", roles=["builder"], routes=["public", "admin"]), ACTOR).row


def checked():
    return [message.msg for message in run_checks(tags=[ROWS], databases=["default"]) if message.id == "authgate.W078"]


def test_publishing_says_what_tokens_lose_by_it(token):
    assert revisions.replace(AFTER, ACTOR).warnings == (ROLE, ROUTE)
    assert revisions.replace(DEMO, ACTOR).warnings == ()  # said once
    assert revisions.rollback(1, ACTOR).warnings == ()
    assert revisions.rollback(2, ACTOR).warnings == (ROLE, ROUTE)


def test_a_token_that_is_over_loses_nothing(token):
    service_tokens.end(ServiceToken.objects.all(), ACTOR)
    assert revisions.replace(AFTER, ACTOR).warnings == ()


def test_check_names_it_as_long_as_it_lasts(token):
    assert checked() == []
    revisions.replace(AFTER, ACTOR)
    assert checked() == [
        "The service token 'ci' names the role 'builder', which the live policy does not have.",
        "The service token 'ci' names the route 'public', which the live policy does not have.",
    ]
    service_tokens.end(ServiceToken.objects.all(), ACTOR)
    assert checked() == []


def test_personal_tokens_are_named_with_their_person_and_not_endlessly(token):
    provider = IdentityProvider.objects.create(slug="corp", client_id="x")
    person = Person.objects.create(provider=provider, provider_subject="alice", email="alice@example.com")
    later = timezone.now() + timedelta(days=1)
    for number in range(20):
        ServiceToken.objects.create(
            name=f"laptop {number:02}", person=person, digest=f"{number:064}", roles=["builder"], expires_at=later
        )
    lines = revisions.replace(AFTER, ACTOR).warnings
    assert (len(lines), lines[-1]) == (11, "… and 12 more names of tokens")
    assert lines[2] == f"the personal token 'laptop 00 of {person}' names the role 'builder', which is no longer there"


def test_the_command_warns_on_standard_error(token, tmp_path, capsys):
    file = tmp_path / "policy.yaml"
    file.write_text(to_yaml(AFTER))
    for options in (["--dry-run"], []):
        call_command("policy", "import", str(file), *options)
        assert capsys.readouterr().err.splitlines() == [f"warning: {ROLE}", f"warning: {ROUTE}"]
    call_command("policy", "rollback", "1")
    call_command("policy", "rollback", "2")
    assert f"warning: {ROLE}" in capsys.readouterr().err
