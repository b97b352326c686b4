from __future__ import annotations

import json
import logging
import sys

import pytest

from authgate.observe.log_lines import Json, Text
from authgate.observe.strangers import NOBODY, Cause, cause

CAUSE = Cause("192.0.2.1", "r" * 32, "t" * 32)


def line(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("authgate.x").makeRecord(
        "authgate.x", logging.WARNING, "file", 1, message, args, None, extra=extra
    )


@pytest.fixture
def in_a_request():
    token = cause.set(CAUSE)
    yield
    cause.reset(token)


@pytest.mark.usefixtures("in_a_request")
def test_the_request_of_this_task_is_named():
    assert (
        Text()
        .format(line("no %s", "good"))
        .endswith(f"WARNING authgate.x no good [request_id={CAUSE.request_id} trace_id={CAUSE.trace_id}]")
    )
    written = json.loads(Json().format(line("no %s", "good")))
    assert written.pop("ts").endswith("Z")
    assert written == {
        "level": "warning", "logger": "authgate.x", "message": "no good", "client": CAUSE.client,
        "request_id": CAUSE.request_id, "trace_id": CAUSE.trace_id,
    }  # fmt: skip


def test_another_request_may_be_named():
    assert f"request_id={CAUSE.request_id}" in Text().format(line("x", cause=CAUSE))


@pytest.mark.usefixtures("in_a_request")
def test_lines_of_nobody_name_none():
    assert Text().format(line("x", **NOBODY)).endswith("WARNING authgate.x x")
    assert json.loads(Json().format(line("x", **NOBODY))).keys() == {"ts", "level", "logger", "message"}


def test_a_traceback_stays_on_the_line():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = line("failed")
        record.exc_info = sys.exc_info()
    text = Json().format(record)
    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("ValueError: two\nlines")


def test_a_text_that_is_no_text():
    assert json.loads(Json().format(line("\ud800 and \x1b")))["message"]
