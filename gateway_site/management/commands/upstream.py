from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from authgate.policy import revisions
from authgate.policy.errors import did_you_mean
from gateway_site.doctor import try_upstream


class Command(BaseCommand):
    help = "Try the targets of an upstream, and say what is wrong."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        check = actions.add_parser(
            "check", help="connect to each target from here, ask for a page, and say what is wrong"
        )
        check.add_argument("name", metavar="NAME", help="of an upstream of the live policy")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        upstreams = revisions.live_document().upstreams
        upstream = upstreams.get(name)
        if upstream is None:
            raise CommandError(f"there is no upstream {name!r} in the live policy{did_you_mean(name, upstreams)}")
        findings = try_upstream(upstream)
        for found in findings:
            words = "; ".join(filter(None, (found.detail, found.advice)))
            self.stdout.write(f"{'ok  ' if found.ok else 'FAIL'}  {found.target}: {words}")
        if failed := sum(not finding.ok for finding in findings):
            raise CommandError(f"{failed} of {len(findings)} targets of {name} failed")
