"""The recipes of docs/applications.md can be read. `make test-applications` does what they say."""

from __future__ import annotations

import re
import subprocess

import pytest

from authgate.policy.compiler import check
from authgate.policy.document import parse_yaml
from tests.applications.recipe import PAGE, Recipe

CHAPTERS = re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("title", CHAPTERS)
def test_its_routes_are_a_policy(title: str) -> None:
    assert check(parse_yaml(Recipe(title, 8001).policy())) == []


@pytest.mark.parametrize("text", [text for language, text in BLOCKS if language == "python"])
def test_its_python_compiles(text: str) -> None:
    compile(text, "recipe", "exec")


@pytest.mark.parametrize("text", [text for language, text in BLOCKS if language in ("sh", "bash")])
def test_its_commands_are_for_a_shell(text: str) -> None:
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""


def test_every_chapter_has_its_tests() -> None:
    named = [path.read_text() for path in (PAGE.parent.parent / "tests" / "applications").glob("test_*.py")]
    assert [title for title in CHAPTERS if not any(f'CHAPTER = "{title}"' in text for text in named)] == []
