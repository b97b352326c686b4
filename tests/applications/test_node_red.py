"""Node-RED: a person deploys a flow and sees by WebSocket what it says."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.applications.stage import FORGED, Stage

CHAPTER = "Node-RED"
ENVIRONMENT = "node-red"
HOME = "/red/"
FLOWS = [
    {"id": "t", "type": "tab", "label": "Test"},
    {
        "id": "i", "type": "inject", "z": "t", "name": "say", "props": [{"p": "payload"}], "payloadType": "str",
        "repeat": "", "crontab": "", "once": False,
        "payload": "hello from the flow", "x": 150, "y": 100, "wires": [["d"]],
    },
    {"id": "d", "type": "debug", "z": "t", "name": "shown", "active": True, "tosidebar": True, "x": 350, "y": 100},
]  # fmt: skip


def prepare(stage: Stage) -> None:
    (stage.directory / "flows.json").write_text(json.dumps(FLOWS))


def open_editor(stage: Stage, page: Page, person: str = "alice") -> None:
    stage.open(page, HOME, person)
    expect(page.locator("#red-ui-header-button-deploy")).to_be_visible(timeout=60_000)


def test_a_flow_is_deployed_and_what_it_says_is_seen(stage: Stage, page: Page) -> None:
    open_editor(stage, page)
    page.wait_for_function("RED.nodes.node('d')")
    page.evaluate("RED.sidebar.show('debug'); RED.nodes.dirty(true)")
    page.locator("#red-ui-header-button-deploy").click()
    expect(page.get_by_text("Successfully deployed")).to_be_visible()
    page.locator(".red-ui-flow-node-button-button").first.click()
    expect(page.locator(".red-ui-debug-msg").get_by_text("hello from the flow")).to_be_visible()
    stage.show(page, "flow")


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_it_knows_who_is_there(stage: Stage, page: Page, person: str) -> None:
    open_editor(stage, page, person)
    settings = json.loads(stage.fetch(page, "/red/settings", headers=FORGED | {"Accept": "application/json"}))
    assert settings["user"]["username"] == f"{person}@example.com"


@pytest.mark.parametrize("path", ["", "flows", "settings", "comms", "api/anything"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(HOME + path)
