"""The question before a command does what cannot be undone. Scripts are not asked."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from django.core.management.base import CommandError


def add_yes(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask; without a terminal nothing is asked anyway")


def confirm(*lines: str, yes: bool) -> None:
    """Raises CommandError: the person at the terminal does not want it."""
    if yes or not sys.stdin.isatty():
        return
    for line in lines:
        sys.stderr.write(f"{line}\n")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was changed")
