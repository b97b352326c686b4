from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from gateway_site.demo import traces
from gateway_site.demo.run import run


class Command(BaseCommand):
    help = "Run a gateway with a demo service behind it, on loopback, and print what to try."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
        parser.add_argument(
            "--remove", action="store_true", help="remove what a demo has left in the database, instead of running one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["remove"]:
            removed = traces.remove(settings.AUTHGATE_DATA_DIR)
            lines = [f"removed {what}" for what in removed] + [f"kept {what}" for what in traces.kept()]
            self.stdout.write("\n".join(lines) or "there was nothing of a demo")
            return
        run(
            port=options["port"],
            root=settings.BASE_DIR,
            data_dir=settings.AUTHGATE_DATA_DIR,
            auth_prefix=settings.AUTHGATE_AUTH_PREFIX,
            out=self.stdout,
        )
