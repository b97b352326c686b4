from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseProblem
from django.db import transaction

from authgate.models import versions
from authgate.models.people import IdentityProvider
from authgate.models.policy import PolicyRevision
from authgate.policy import listing, policy_file, revisions
from authgate.policy.compiler import check
from authgate.policy.document import PolicyDocument, PolicyInvalid, parse_yaml, to_yaml
from authgate.policy.faults import all_faults
from authgate.policy.policy_file import FileProblem
from authgate.policy.powers import Machine
from authgate.policy.revisions import Published
from authgate.state.trouble import trouble_of


class Command(BaseCommand):
    help = "Export, import, show, list and roll back the policy."
    # Works also while the rest of the project cannot start; what it imports is validated anyway.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        export = actions.add_parser("export", help="write the live policy as YAML")
        export.add_argument("file", nargs="?", default="-", help="default: standard output")
        import_ = actions.add_parser("import", help="replace the policy by a YAML file, whole or not at all")
        import_.add_argument("file", help="- for standard input")
        import_.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        import_.add_argument(
            "--allow-empty", action="store_true", help="take a file without routes although some are live"
        )
        actions.add_parser("show", help="the live routes in the order in which they win")
        actions.add_parser("history", help="all revisions, newest first")
        rollback = actions.add_parser("rollback", help="publish an earlier revision again")
        rollback.add_argument("number", type=int)

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            getattr(self, f"_{action}")(**options)
            self.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
        except revisions.WouldBeEmpty as error:
            raise CommandError(f"{error}; nothing was changed. If that is meant: --allow-empty") from error
        except PolicyInvalid as error:
            lines = [f"{len(error.errors)} problem(s) in the policy; nothing was changed", *map(str, error.errors)]
            raise CommandError("\n".join(lines)) from error
        except PolicyRevision.DoesNotExist as error:
            raise CommandError(f"there is no revision {options['number']}") from error
        except FileProblem as error:
            raise CommandError(str(error)) from error
        except DatabaseProblem as error:
            raise CommandError(f"{trouble_of(error).full}; nothing was changed") from error
        except OSError as error:
            raise CommandError(f"standard output: {error.strerror or error}") from error

    def _export(self, file: str, **_: Any) -> None:
        text = to_yaml(revisions.live_document())
        if file == "-":
            self.stdout.write(text, ending="")
        else:
            policy_file.write(Path(file), text)

    def _import(self, file: str, dry_run: bool, allow_empty: bool, **_: Any) -> None:
        text = policy_file.read(file, sys.stdin.buffer)
        try:
            document = parse_yaml(text)
            with self._reporting(dry_run):
                comment = f"import of {Path(file).name}"
                self._warn(revisions.replace(document, Machine("policy import"), comment, allow_empty=allow_empty))
        except revisions.WouldBeEmpty:
            raise
        except PolicyInvalid as error:
            raise all_faults(text, error, check) from error
        self._warn_of_absent_providers(document)

    def _rollback(self, number: int, **_: Any) -> None:
        with self._reporting():
            self._warn(revisions.rollback(number, Machine("policy rollback")))

    def _show(self, **_: Any) -> None:
        revision = revisions.latest()
        self.stdout.write(f"revision {revision.number if revision else 0}")
        for line in listing.route_lines(revisions.live_document()):
            self.stdout.write(line)

    def _history(self, **_: Any) -> None:
        for line in listing.revision_lines():
            self.stdout.write(line)

    @contextmanager
    def _reporting(self, dry_run: bool = False) -> Iterator[None]:
        """What was published inside, in words and with the way back, or what would have been."""
        with transaction.atomic():
            versions.lock("policy")  # what is told is what was live until then
            before = revisions.latest()
            yield
            after = revisions.latest()
            transaction.set_rollback(dry_run)
        if after is None or after == before:
            self.stdout.write(f"nothing changed; revision {after.number if after else 0} stays live")
            return
        self.stdout.write(f"revision {after.number} {'would be' if dry_run else 'is'} live")
        if before is not None:  # of a first policy everything is new
            for line in listing.change_lines(before, after):
                self.stdout.write(f"  {line}")
        if dry_run:
            self.stdout.write("nothing was changed: this was a dry run")
        elif before is not None:
            self.stdout.write(f"to undo: manage.py policy rollback {before.number}")

    def _warn(self, published: Published) -> None:
        for line in published.warnings:
            self.stderr.write(f"warning: {line}")

    def _warn_of_absent_providers(self, document: PolicyDocument) -> None:
        known = set(IdentityProvider.objects.values_list("slug", flat=True))
        for index, grant in enumerate(document.grants):
            if (slug := grant.when.provider) and slug not in known:
                self.stderr.write(
                    f"grants[{index}].when.provider: there is no identity provider {slug!r} here yet; "
                    "until it is added this grants nothing"
                )


def _forget_stdout() -> None:
    """The reader has gone (`| head`): the interpreter would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
