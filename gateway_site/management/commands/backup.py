from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from authgate.backup.taking import take
from authgate.sessions.live import count
from authgate.system_user import cause_of
from gateway_site.private_file import private_draft


class Command(BaseCommand):
    help = "Write a backup of the database to a file, while the gateway runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="for this user alone, replaced if it is there; - for stdout")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        if file == "-":
            rows = take(sys.stdout.buffer)
        else:
            rows = self._write(Path(file))
        self.stderr.write(f"saved {count(rows, 'row')}; keep these apart from it: {', '.join(_beside())}")

    def _write(self, path: Path) -> int:
        try:
            if path.exists() and not path.is_file():
                raise CommandError(f"{str(path)!r} is no file")
            with private_draft(path) as (file, draft):
                rows = take(file)
                file.flush()
                os.fsync(file.fileno())
                os.replace(draft, path)
        except OSError as error:
            raise CommandError(f"{str(path)!r} cannot be written: {cause_of(error)}") from error
        return rows


def _beside() -> list[str]:
    """Everything else that a new machine needs, and that no backup should hold together with the database."""
    needed = ["the secret key"]
    if settings.AUTHGATE_SIGNING_KEY_FILE:
        needed.append("the files of AUTHGATE_SIGNING_KEY_FILE")
    if settings.AUTHGATE_ENV_FILE:
        needed.append(f"the settings ({settings.AUTHGATE_ENV_FILE})")
    return needed
