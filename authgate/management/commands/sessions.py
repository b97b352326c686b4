from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from authgate.management.asking import add_yes, confirm
from authgate.models.people import Session
from authgate.policy.powers import Machine
from authgate.sessions.ending import end_everything
from authgate.sessions.live import count, cut_off


class Command(BaseCommand):
    help = "End sessions of people who have signed in."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        end = actions.add_parser("end", help="sign people out, such as after a backup was restored")
        end.add_argument("--all", action="store_true", required=True, help="everybody, also from /admin/")

        add_yes(end)

    def handle(self, *args: Any, yes: bool = False, **options: Any) -> None:
        whom = cut_off(Session.objects.all())
        confirm(f"This signs out {whom}, and every local account.", "They all have to sign in again.", yes=yes)
        people, accounts = end_everything(Machine("sessions end"), "ended by command")
        self.stdout.write(f"ended {count(people, 'session')} of people, {count(accounts, 'session')} of local accounts")
