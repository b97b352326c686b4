from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from authgate.sessions import store


class Command(BaseCommand):
    help = "End sessions of people who have signed in."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        end = actions.add_parser("end", help="sign people out, such as after a backup was restored")
        end.add_argument("--all", action="store_true", required=True, help="everybody, also from /admin/")

    def handle(self, *args: Any, **options: Any) -> None:
        people, accounts = store.end_everything("ended by command")
        self.stdout.write(
            f"ended {_count(people, 'session')} of people, {_count(accounts, 'session')} of local accounts"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
