from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from authgate.management.explaining import explain
from authgate.models.service_tokens import LONGEST_DAYS, ServiceToken
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import Machine
from authgate.state import service_tokens
from authgate.state.service_tokens import DEFAULT_DAYS, Made, Wanted

_OPTIONS = {
    "name": "NAME", "roles": "--role", "networks": "--network", "routes": "--route", "owner": "--owner",
    "expires_at": "--expires",
}  # fmt: skip
_IF_TAKEN = "To end it: manage.py service_token revoke {}"
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


class Command(BaseCommand):
    help = "Create, list and revoke service tokens: for what has no identity provider."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a token, and print it once")
        create.add_argument("name", metavar="NAME", help="its subject is service|NAME")
        create.add_argument("--role", action="append", default=[], metavar="R", help="may be repeated")
        create.add_argument(
            "--expires", type=_lasts, default=timedelta(days=DEFAULT_DAYS), metavar="90d",
            help=f"days (d), hours (h) or weeks (w), at most {LONGEST_DAYS}d; default: {DEFAULT_DAYS}d",
        )  # fmt: skip
        create.add_argument(
            "--network", action="append", default=[], metavar="CIDR", help="may be repeated; default: from everywhere"
        )
        create.add_argument(
            "--route", action="append", default=[], metavar="NAME", help="may be repeated; default: all routes"
        )
        create.add_argument("--owner", default="", metavar="O", help="an e-mail address, or a team")
        create.add_argument("--quiet", action="store_true", help="print the token and nothing else")
        every = actions.add_parser("list", help="the service tokens that have not ended, without the tokens themselves")
        every.add_argument("--all", action="store_true", dest="with_ended", help="those that have ended, too")
        revoke = actions.add_parser("revoke", help="end a token, at once")
        revoke.add_argument("name", metavar="NAME")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        getattr(self, f"_{action}")(**options)

    def _create(self, name: str, quiet: bool, **options: Any) -> None:
        made = _make(name, **options)
        self.stdout.write(made.token)
        if not quiet:
            row, url = made.row, settings.AUTHGATE_PUBLIC_URL
            # Scripts read the token and the curl line of standard output.
            self.stderr.write(
                "  ".join((row.subject, f"jti {row.token_id}", *_terms(row), f"expires {_time(row.expires_at)}"))
            )
            self.stderr.write("The token is not shown again.")
            header = f"Authorization: Bearer {made.token}"
            self.stdout.write(f"\ncurl -H '{header}' {url}{settings.AUTHGATE_AUTH_PREFIX}/me")

    def _list(self, with_ended: bool, **_: Any) -> None:
        now, tokens = timezone.now(), ServiceToken.objects.filter(person=None)
        for token in tokens if with_ended else tokens.filter(ended_at=None):
            used = f"last used {_time(token.last_used_at)}"
            self.stdout.write("  ".join((token.name, token.token_id, *_terms(token), used, _state(token, now))))

    def _revoke(self, name: str, **_: Any) -> None:
        tokens = ServiceToken.objects.filter(person=None, name=name)
        if not service_tokens.end(tokens, Machine("service_token revoke")):
            raise CommandError(f"there is no service token {name!r} in force")
        self.stdout.write(f"revoked {name}: refused from now on")


def _make(name: str, **options: Any) -> Made:
    try:
        wanted = Wanted(
            name, options["expires"], options["role"], options["network"], options["route"], options["owner"]
        )
        return service_tokens.create(wanted, Machine("service_token create"))
    except ValidationError as error:
        raise CommandError(explain(error, _OPTIONS, name="name", if_taken=_IF_TAKEN.format(name))) from error
    except PolicyInvalid as error:
        raise CommandError(str(error)) from error


def _lasts(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,5})([hdw])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} must look like 90d, 12h or 2w")
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])


def _terms(token: ServiceToken) -> list[str]:
    return [
        f"roles {', '.join(token.roles) or 'none'}",
        f"networks {', '.join(token.networks) or 'all'}",
        f"routes {', '.join(token.routes) or 'all'}",
        *([f"owner {token.owner}"] if token.owner else []),
    ]


def _state(token: ServiceToken, now: Any) -> str:
    if token.ended_at is not None:
        return f"ENDED {_time(token.ended_at)} ({token.end_reason})"
    if token.expires_at <= now:
        return f"EXPIRED {_time(token.expires_at)}"
    left = (token.expires_at - now).days
    soon = f" (in {left} days)" if token.expires_at <= now + service_tokens.WARNED_BEFORE else ""
    return f"expires {_time(token.expires_at)}{soon}"


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}" if at else "never"
