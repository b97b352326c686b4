from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from gateway_site.demo.run import run


class Command(BaseCommand):
    help = "Run a gateway with a demo service behind it, on loopback, and print what to try."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        run(
            port=options["port"],
            root=settings.BASE_DIR,
            data_dir=settings.AUTHGATE_DATA_DIR,
            auth_prefix=settings.AUTHGATE_AUTH_PREFIX,
            out=self.stdout,
        )
