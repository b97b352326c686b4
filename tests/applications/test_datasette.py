"""Datasette: queries, an export that is streamed, and a form that its own check against forged ones lets through."""

from __future__ import annotations

import json
import sqlite3

import pytest
from playwright.sync_api import Page, expect

from tests.applications.stage import FORGED, Stage

CHAPTER = "Datasette"
ENVIRONMENT = "datasette"
HOME = "/data/"
ROWS = 20_000


def prepare(stage: Stage) -> None:
    with sqlite3.connect(stage.directory / "notes.db") as database:
        database.execute("create table many (n integer primary key, word text)")
        database.executemany("insert into many values (?, ?)", ((n, "word" * 10) for n in range(ROWS)))
    database.close()


def test_a_person_adds_a_row_under_her_name(stage: Stage, page: Page) -> None:
    stage.open(page, f"{HOME}notes/add")
    page.get_by_label("text").fill("hello")
    page.get_by_role("button", name="Run SQL").click()
    expect(page.get_by_text("1 row affected")).to_be_visible()
    page.goto(f"{stage.gateway.url}{HOME}notes/notes")
    expect(page.get_by_role("row", name="alice@example.com hello")).to_be_visible()
    stage.show(page, "row")


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_it_knows_who_is_there_whatever_they_write(stage: Stage, page: Page, person: str) -> None:
    stage.open(page, HOME, person)
    actor = json.loads(stage.fetch(page, f"{HOME}-/actor.json", headers=FORGED))["actor"]
    assert actor == {"id": f"main|{person}", "email": f"{person}@example.com"}


def test_a_long_export_comes_whole(stage: Stage) -> None:
    token = stage.token("ci", "member")
    export = stage.gateway.get(f"{HOME}notes/many.csv?_stream=on&_size=max", token=token)
    assert export.status == 200
    assert len(export.text.splitlines()) == ROWS + 1


@pytest.mark.parametrize("path", ["", "notes.json?sql=select+1", "-/actor.json", "notes/many.csv?_stream=on"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(HOME + path)
