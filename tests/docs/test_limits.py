"""docs/limits.md says what the code does."""

from __future__ import annotations

import importlib
import re
from datetime import timedelta
from typing import Any

import pytest

from tests.support.gateway import ROOT

PAGE = ROOT / "docs" / "limits.md"
CONSTANT = re.compile(r"`((?:authgate|proxy|gateway_site)\.[\w.]+)`(?: × (\d+))?")
AMOUNT = re.compile(r"(one|\d[\d,]*(?:\.\d+)?)\s*(KiB|MiB|GiB|s|h|ms)?\b")
UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "s": 1, "h": 3600, "ms": 0.001, None: 1}


def rows() -> list[tuple[str, str, str, str]]:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| what")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]  # type: ignore[misc]


def value_of(name: str) -> Any:
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            # A dataclass with slots keeps its defaults in its fields.
            found = found.__dataclass_fields__[part].default if isinstance(found, type) else getattr(found, part)
        return found.total_seconds() if isinstance(found, timedelta) else found
    raise AssertionError(f"{name} is nowhere")


def amounts(bound: str) -> list[float]:
    return [
        (1 if number == "one" else float(number.replace(",", ""))) * UNITS[unit or None]
        for number, unit in AMOUNT.findall(bound)
    ]


CHECKED = [(what, bound, match) for what, bound, _, set_by in rows() for match in CONSTANT.finditer(set_by)]


@pytest.mark.parametrize(("what", "bound", "constant"), CHECKED, ids=[what for what, _, _ in CHECKED])
def test_a_bound_is_the_one_of_the_code(what: str, bound: str, constant: re.Match[str]) -> None:
    assert value_of(constant[1]) * int(constant[2] or 1) in amounts(bound)


def test_every_row_says_what_happens_beyond_it_and_what_sets_it() -> None:
    assert len(rows()) > 40
    assert all(len(row) == 4 and all(row) for row in rows())
