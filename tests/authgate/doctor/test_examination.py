"""All at once, and over in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event, Lock

import pytest

from authgate.doctor import examination, registry
from authgate.doctor.examination import THREADS, StillRunning, examine
from authgate.doctor.finding import Finding, Level, ok
from authgate.doctor.registry import Further, Subject, register

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_examinations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", [])
    monkeypatch.setattr(examination, "_last", [])


def findings(seconds: float = 5) -> list[Finding]:
    return [finding for section in examine(seconds) for finding in section.findings]


def test_what_waits_is_waited_for_at_once():
    for _ in range(10):
        register(Subject.FILES)(lambda: time.sleep(0.2) or [ok("one", "waited")])
    begun = time.monotonic()
    assert len(findings()) == 10
    assert time.monotonic() - begun < 1


def test_what_gives_no_answer_is_named_and_what_it_found_before_is_kept():
    never = Event()

    def hangs() -> Iterator[Finding]:
        yield ok("first", "there")
        never.wait(10)

    register(Subject.REDIS)(hangs)
    register(Subject.FILES)(lambda: [ok("other", "there")])
    assert [(one.name, one.level) for one in findings(0.2)] == [
        ("other", Level.OK), ("first", Level.OK), ("Redis", Level.ERROR),
    ]  # fmt: skip
    with pytest.raises(StillRunning):
        examine(0.2)
    never.set()
    _until_free()


def _until_free() -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            examine(0.2)
            return
        except StillRunning:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_no_more_run_at_a_time_than_there_are_threads():
    lock, running, most = Lock(), 0, 0

    def count() -> list[Finding]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return [ok("one", "counted")]

    register(Subject.UPSTREAMS)(lambda: [Further(str(number), count) for number in range(200)])
    assert len(findings()) == 200
    assert most <= THREADS


def test_what_has_not_begun_in_time_never_does():
    begun: list[int] = []
    register(Subject.UPSTREAMS)(
        lambda: [Further(str(number), lambda: begun.append(1) or time.sleep(0.3) or []) for number in range(100)]
    )
    assert len(findings(0.1)) == 100  # each says that there was no answer
    _until_free_of(begun)


def _until_free_of(begun: list[int]) -> None:
    time.sleep(1)
    assert len(begun) <= THREADS + 1


def test_one_that_fails_takes_none_with_it(caplog):
    def fails() -> list[Finding]:
        raise ZeroDivisionError("by nothing")

    register(Subject.KEYS)(fails)
    register(Subject.FILES)(lambda: [ok("other", "there")])
    assert [(one.name, one.level, one.text) for one in findings()] == [
        ("other", "ok", "there"), ("signing keys", "error", "ZeroDivisionError: by nothing"),
    ]  # fmt: skip
    assert "the examination of signing keys has failed" in caplog.text
