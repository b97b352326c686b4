from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from authgate.models.service_tokens import ServiceToken
from authgate.policy import revisions
from authgate.policy.document import parse_yaml
from authgate.policy.powers import Machine
from tests.support.policies import demo_policy

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def policy(db):
    revisions.replace(parse_yaml(demo_policy("http://127.0.0.1:8080")), Machine("test"))


def run(*args: str) -> str:
    output = StringIO()
    call_command("service_token", *args, stdout=output)
    return output.getvalue()


def refused(*args: str) -> list[str]:
    with pytest.raises(CommandError) as caught:
        run(*args)
    return sorted(str(caught.value).splitlines())


def test_all_that_is_wrong_is_said_at_once():
    wrong = ("--role", "nobody", "--route", "nowhere", "--network", "10.0.0.0/99", "--expires", "400d", "--owner", " x")
    said = refused("create", "a b", *wrong)
    assert [line.partition(":")[0] for line in said] == [
        "--expires",
        "--network",
        "--owner",
        "--role",
        "--route",
        "NAME",
    ]
    assert not ServiceToken.objects.exists()


def test_what_was_made_is_told_beside_the_token(capsys):
    run("create", "ci", "--role", "admin", "--route", "public", "--expires", "1d", "--owner", "ops")
    told = capsys.readouterr().err.splitlines()[0].split("  ")
    assert (told[0], told[2:6]) == ("service|ci", ["roles admin", "networks all", "routes public", "owner ops"])
    assert told[6].startswith("expires 20")
    assert run("create", "quiet", "--quiet").startswith("agt_")
    assert capsys.readouterr().err == ""


def test_ended_ones_are_listed_where_asked_for():
    run("create", "first", "--quiet")
    run("create", "second", "--quiet")
    run("revoke", "first")
    assert [line.split()[0] for line in run("list").splitlines()] == ["second"]
    first, second = run("list", "--all").splitlines()
    assert " ENDED 20" in first
    assert first.endswith("(revoked)")
    assert " expires 20" in second


def test_a_name_in_use_says_how_to_end_the_other():
    run("create", "ci", "--quiet")
    [line] = refused("create", "ci")
    assert line.endswith("To end it: manage.py service_token revoke ci")
