"""JupyterLab: a person runs a cell, in a kernel that she reaches by a WebSocket."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.applications.stage import FORGED, Stage

CHAPTER = "JupyterLab"
ENVIRONMENT = "jupyterlab"
HOME = "/jupyter/lab"


def prepare(stage: Stage) -> None:
    """It refuses to run as root, as tests may."""
    with (stage.directory / "jupyter_server_config.py").open("a") as own:
        own.write("c.ServerApp.allow_root = True\n")


def new_notebook(stage: Stage, page: Page, workspace: str) -> None:
    stage.open(page, f"{HOME}/workspaces/{workspace}")
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    # A cell that is run before its kernel answers is not run: the notebook's own mark is idle too early.
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)


def run_cell(page: Page, code: str, result: str) -> None:
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").last
    cell.press_sequentially(code)
    expect(cell).to_have_text(code)
    cell.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output").last).to_have_text(re.compile(result), timeout=30_000)


def test_a_person_runs_a_cell(stage: Stage, page: Page) -> None:
    new_notebook(stage, page, "one")
    run_cell(page, "6 * 7", "42")
    stage.show(page, "cell")


def identity(stage: Stage, page: Page, **headers: str) -> tuple[str, str]:
    answer = json.loads(stage.fetch(page, "/jupyter/api/me", headers=headers))["identity"]
    return answer["username"], answer["name"]


def test_it_knows_who_she_is(stage: Stage, page: Page) -> None:
    stage.open(page, HOME)
    assert identity(stage, page) == ("alice@example.com", "Alice Example")


def test_somebody_else_is_somebody_else_whatever_they_write(stage: Stage, page: Page) -> None:
    stage.open(page, HOME, "bob")
    assert identity(stage, page, **FORGED) == ("bob@example.com", "Bob Example")


@pytest.mark.parametrize("path", ["lab", "api/me", "api/contents", "api/kernels/x/channels", "api/events/subscribe"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(f"/jupyter/{path}")


def test_its_kernel_is_out_of_reach_once_the_session_has_ended(stage: Stage, page: Page) -> None:
    new_notebook(stage, page, "two")
    run_cell(page, "6 * 7", "42")
    stage.gateway.shell.command("sessions", "end", "--all", "--yes")
    ended = stage.gateway.log_lines(wait_for=2, status=101, cut="revoked")
    assert {line["path"].rpartition("/")[2] for line in ended} == {"channels", "subscribe"}
    stage.show(page, "ended")
