"""docs/doctor.md has a chapter for each subject of the doctor, and names what it finds at the public URL."""

from __future__ import annotations

import re

import pytest

from authgate.doctor.registry import Subject, registered
from tests.support.gateway import ROOT

PAGE = (ROOT / "docs" / "doctor.md").read_text()
HEADINGS = [name for line in re.findall(r"^### (.+)$", PAGE, re.MULTILINE) for name in line.split(", ")]
SYMPTOMS = re.findall(r"^\| .+ \| (.+) \|$", PAGE.split("## From the symptom to the line")[1], re.MULTILINE)[2:]


def test_each_subject_has_a_chapter_in_the_order_of_the_report():
    assert [subject.value for subject in Subject] == HEADINGS


def test_each_subject_is_examined():
    assert {subject for subject, _ in registered()} == set(Subject)


@pytest.mark.parametrize("where", SYMPTOMS)
def test_a_symptom_leads_to_lines_that_there_are(where):
    chapters = PAGE.split("## From the symptom to the line")[0]
    assert any(where.startswith(subject.value) for subject in Subject)
    named = [name for name in re.findall(r"`([^`]+)`", where) if not name.startswith("manage.py")]
    for name in named:
        family = "X-Forwarded-…" if name.startswith("X-Forwarded-") else name
        assert f"`{family}`" in chapters
