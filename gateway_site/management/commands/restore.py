from __future__ import annotations

import shutil
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate.backup import restoring
from authgate.backup.archive import Archive, BackupUnusable
from authgate.management.asking import add_yes, confirm
from gateway_site.apart import apart


class Command(BaseCommand):
    help = "Replace the database by a backup. Everybody has to sign in again, and what was revoked stays revoked."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="written by `backup`; - for stdin")
        parser.add_argument(
            "--keep-tokens",
            action="store_true",
            help="without the database that is replaced, nobody knows which tokens were revoked since the backup, and "
            "all of them are refused; this keeps them valid",
        )
        add_yes(parser)

    def handle(self, *args: Any, file: str, keep_tokens: bool, yes: bool, **options: Any) -> None:
        try:
            with _open(file) as archive:
                self._restore(archive, keep=keep_tokens, yes=yes)
        except BackupUnusable as error:
            raise CommandError(f"{error}; nothing was changed") from error

    def _restore(self, archive: Archive, *, keep: bool, yes: bool) -> None:
        restoring.check(archive)
        held = ", ".join(f"{number:,} {name}" for name, number in sorted(archive.counts.items()))
        confirm(
            f"The backup was made at {archive.head.made_at}: {held or 'no rows'}.",
            "It replaces the whole database of this gateway, and everybody is signed out.",
            yes=yes,
        )
        restoring.restore(archive, apart, self.stdout.write, keep=keep)
        self.stdout.write(f"restored {archive.counts.total():,} rows; everybody has to sign in again")


@contextmanager
def _open(file: str) -> Iterator[Archive]:
    """Raises BackupUnusable."""
    if file != "-":
        yield Archive(Path(file))
        return
    # It is read twice. Only its owner may read a temporary file.
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield Archive(Path(kept.name), "standard input")
