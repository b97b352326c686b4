"""In CI a skipped test is a failed one, unless tests/allowed_skips.txt lists it with a reason."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ALLOWED = Path(__file__).resolve().parent.parent / "allowed_skips.txt"


def allowed_patterns() -> list[str]:
    """Each line: a glob over test ids, `#`, the reason."""
    patterns = []
    for number, line in enumerate(ALLOWED.read_text(encoding="utf-8").splitlines(), 1):
        pattern, _, reason = (part.strip() for part in line.partition("#"))
        if pattern and not reason:
            raise pytest.UsageError(f"{ALLOWED.name}:{number}: {pattern} is listed without a reason")
        if pattern:
            patterns.append(pattern)
    return patterns


def is_unexpected(report: Any) -> bool:
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return False
    return not any(fnmatch.fnmatchcase(report.nodeid, pattern) for pattern in allowed_patterns())


def fail(report: Any) -> Any:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: skipped in CI and not listed in {ALLOWED.name}: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    return fail(report) if is_unexpected(report) else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    return fail(report) if is_unexpected(report) else report
