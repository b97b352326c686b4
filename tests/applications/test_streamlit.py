"""Streamlit: all of a page comes by a WebSocket; files go up by PUT, with a token against other sites."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.applications.stage import Stage

CHAPTER = "Streamlit"
ENVIRONMENT = "streamlit"
HOME = "/streamlit/"


def test_what_a_person_types_is_answered(stage: Stage, page: Page) -> None:
    stage.open(page, HOME)
    page.get_by_label("A word").fill("gateway")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Backwards: yawetag")).to_be_visible()
    stage.show(page, "answered")


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_it_knows_who_is_there(stage: Stage, page: Page, person: str) -> None:
    stage.open(page, HOME, person)
    expect(page.get_by_text(f"You are {person}@example.com")).to_be_visible()


def test_a_file_is_uploaded(stage: Stage, page: Page) -> None:
    stage.open(page, HOME)
    file = {"name": "big.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 5_000_000}
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("Bytes: 5000000")).to_be_visible()
    stage.show(page, "uploaded")


@pytest.mark.parametrize("path", ["", "_stcore/stream", "_stcore/health", "_stcore/upload_file/x/y"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(HOME + path)
