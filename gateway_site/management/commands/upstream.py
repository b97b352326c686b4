from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import uvloop
from django.core.management.base import BaseCommand, CommandError

from authgate.policy import revisions
from authgate.policy.errors import did_you_mean
from authgate.policy.table import DEFAULT_TIMEOUTS
from proxy.upstream.diagnose import diagnose


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
        seconds = upstream.timeouts.connect or DEFAULT_TIMEOUTS.connect or 0
        findings = uvloop.run(diagnose(upstream, seconds))  # as the gateway itself
        for ok, target, detail in findings:
            self.stdout.write(f"{'ok  ' if ok else 'FAIL'}  {target}: {detail}")
        if failed := sum(not finding.ok for finding in findings):
            raise CommandError(f"{failed} of {len(findings)} targets of {name} failed")
