from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate.doctor.examination import SECONDS, Section, count, examine
from authgate.doctor.finding import Finding, Level
from authgate.sessions import live

_COLUMN = 9


class Command(BaseCommand):
    help = "Examine everything around the gateway, and say what is wrong and what to do."
    requires_system_checks = []  # they are part of what it says

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs; default: for people")
        parser.add_argument(
            "--fail-level",
            choices=[Level.WARNING.value, Level.ERROR.value],
            default=Level.ERROR.value,
            help="exit with 1 from this level on; default: %(default)s",
        )
        parser.add_argument(
            "--seconds", type=float, default=SECONDS, metavar="N", help="that it may take; default: %(default)g"
        )

    def handle(self, *args: Any, fail_level: str, seconds: float, **options: Any) -> None:
        sections = examine(seconds)
        if options["json"]:
            self.stdout.write(json.dumps(_plain(sections), indent=2))
        else:
            self._write(sections)
        failing = (Level.ERROR,) if fail_level == Level.ERROR else (Level.ERROR, Level.WARNING)
        if any(count(sections, level) for level in failing):
            raise CommandError(_summary(sections))
        if not options["json"]:
            self.stdout.write(_summary(sections))

    def _write(self, sections: Iterable[Section]) -> None:
        for subject, findings in sections:
            self.stdout.write(self.style.MIGRATE_HEADING(subject.value))
            for finding in findings:
                self._write_finding(finding)

    def _write_finding(self, finding: Finding) -> None:
        styles = {Level.OK: self.style.SUCCESS, Level.WARNING: self.style.WARNING, Level.ERROR: self.style.ERROR}
        level = styles[finding.level](finding.level.value) + " " * (_COLUMN - len(finding.level))
        self.stdout.write(f"  {level}{finding.name}: {finding.text}")
        if finding.remedy:
            self.stdout.write(f"  {' ' * _COLUMN}to do: {finding.remedy}")


def _summary(sections: list[Section]) -> str:
    errors, warnings = count(sections, Level.ERROR), count(sections, Level.WARNING)
    return f"{live.count(errors, 'error')}, {live.count(warnings, 'warning')}"


def _plain(sections: list[Section]) -> dict[str, Any]:
    return {
        "errors": count(sections, Level.ERROR),
        "warnings": count(sections, Level.WARNING),
        "findings": [
            {"subject": subject, **finding._asdict()} for subject, findings in sections for finding in findings
        ],
    }
