"""Commands that cut people off ask a person at a terminal, and never a script."""

from __future__ import annotations

import os
import pty
import tempfile

import pytest

from tests.support import processes
from tests.support.gateway import Gateway
from tests.support.sessions import make_session, row, run

COMMANDS = {"sessions": ["sessions", "end", "--all"], "provider": ["provider", "remove", "idp"]}


@pytest.fixture
def gateway(gateway_template, tmp_path):
    with Gateway(tmp_path / "data", template=gateway_template) as gateway:
        yield gateway


@pytest.fixture
def made(gateway):
    run(gateway, "IdentityProvider.objects.create(slug='idp', client_id='gateway')")
    return make_session(gateway, "alice")


def on_a_terminal(gateway: Gateway, arguments: list[str], answer: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    try:
        with tempfile.TemporaryFile("w+") as said:
            command = processes.start(gateway.env, arguments, (theirs, said.fileno(), said.fileno()))
            os.write(ours, f"{answer}\n".encode())
            status = command.wait(60)
            said.seek(0)
            return status, said.read()
    finally:
        os.close(ours)
        os.close(theirs)


def is_signed_in(gateway, made) -> bool:
    return not row(gateway, made.sid)["ended"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_person_at_a_terminal_is_told_whom_it_meets_and_may_stop_it(gateway, made, name):
    code, said = on_a_terminal(gateway, COMMANDS[name], "n")
    assert code != 0
    assert "This signs out 1 person with 1 live session" in said
    assert "nothing was changed" in said
    assert is_signed_in(gateway, made)


@pytest.mark.parametrize(("arguments", "answer"), [([], "y"), (["--yes"], "n")], ids=["y", "--yes"])
def test_it_is_done_when_a_person_agrees_or_said_so_before(gateway, made, arguments, answer):
    code, said = on_a_terminal(gateway, [*COMMANDS["sessions"], *arguments], answer)
    assert (code, is_signed_in(gateway, made)) == (0, False), said


def test_a_script_is_not_asked(gateway, made):
    assert "ended 1 session of people" in gateway.manage(*COMMANDS["sessions"])
    assert not is_signed_in(gateway, made)
