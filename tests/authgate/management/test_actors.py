"""Commands act as the machine: whoever runs them owns the database. Which of them change anything is written here."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from authgate.policy import revisions
from tests.support import powers
from tests.support.operators import POLICY

pytestmark = pytest.mark.django_db
OUR_APPS = ("authgate", "proxy", "gateway_site")

# What only looks, and how it is called for that.
READING: dict[tuple[str, str], list[str]] = {
    ("check", ""): [],
    ("doctor", ""): ["--seconds", "5"],
    ("mint_token", ""): ["--list"],
    ("keys", "list"): [],
    ("policy", "export"): [],
    ("policy", "show"): [],
    ("policy", "history"): [],
    ("issuer", "list"): [],
    ("issuer", "test"): ["ci"],
    ("provider", "list"): [],
    ("service_token", "list"): [],
    ("provider", "test"): ["off"],
    ("upstream", "check"): ["api"],
}
# What publishes a policy, and the author that the history names.
PUBLISHING = {("policy", "import"): "policy import", ("policy", "rollback"): "policy rollback"}
# What changes trust, each tested in a file of its own.
CHANGING_TRUST = {
    ("issuer", "add"), ("issuer", "remove"), ("provider", "add"), ("provider", "remove"), ("sessions", "end"),
    ("keys", "rotate"), ("keys", "retire"), ("keys", "reseal"), ("revoke", ""),
    ("service_token", "create"), ("service_token", "revoke"), ("restore", ""),
}  # fmt: skip
# What prepares or runs processes, and changes nothing that is there already.
RUNNING = {("serve", ""), ("demo", ""), ("migrate", ""), ("backup", "")}


def every_command() -> set[tuple[str, str]]:
    return {
        (name, action)
        for name, app in get_commands().items()
        if app in OUR_APPS
        for action in _actions(load_command_class(app, name).create_parser("manage.py", name))
    }


def _actions(parser: argparse.ArgumentParser) -> list[str]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [name for action in found for name in action.choices] or [""]


def run(command: tuple[str, str], *arguments: str) -> None:
    name, action = command
    call_command(name, *filter(None, (action, *arguments)), stdout=io.StringIO(), stderr=io.StringIO())


def test_of_every_command_it_is_said_what_it_may_change():
    assert every_command() == READING.keys() | PUBLISHING.keys() | CHANGING_TRUST | RUNNING


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_command_that_looks_changes_nothing(world, command):
    before = powers.digest()
    try:
        run(command, *READING[command])
    except CommandError as error:
        assert "doctor" in command or command[1] in ("test", "check"), error  # nobody answers there
    assert powers.digest() == before


@pytest.mark.parametrize("command", PUBLISHING, ids=" ".join)
def test_a_command_that_publishes_does_so_under_its_own_name(world, command, tmp_path: Path):
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("/wiki", "/other"))
    run(command, {"import": str(file), "rollback": "1"}[command[1]])
    newest: Any = revisions.latest()
    assert (newest.number, newest.author) == (5, PUBLISHING[command])
