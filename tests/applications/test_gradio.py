"""Gradio: results come piece by piece as server-sent events, from below a prefix that the gateway takes off."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.applications.stage import Stage

CHAPTER = "Gradio"
ENVIRONMENT = "gradio"
HOME = "/gradio/"


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_a_result_comes_piece_by_piece_and_is_this_person_s(stage: Stage, page: Page, person: str) -> None:
    stage.open(page, HOME, person)
    page.get_by_label("word").fill("a word of some length")
    page.get_by_role("button", name="Submit").click()
    answer = page.get_by_label("output")
    expect(answer).to_have_value(re.compile(rf"^{person}@example\.com: .{{1,15}}$"))
    expect(answer).to_have_value(f"{person}@example.com: a word of some length")
    stage.show(page, f"answer to {person}")


@pytest.mark.parametrize("path", ["", "config", "gradio_api/queue/join", "gradio_api/queue/data", "gradio_api/upload"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(HOME + path)
