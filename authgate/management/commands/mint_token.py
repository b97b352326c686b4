from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from authgate.authn.keys import KeyUnusable
from authgate.authn.tokens import MAX_TTL, ClaimRefused
from authgate.policy.document import PolicyDocument
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import Machine
from authgate.state import snapshot, watcher
from authgate.state.minting import is_refused, mint_access_token, unexpired
from authgate.system_user import user_name

DEFAULT_TTL = 3600


class Command(BaseCommand):
    help = "Mint a signed access token for the gateway, and print how to use it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subject", nargs="?", help="who the token stands for (claim sub)")
        parser.add_argument("--email", default="")
        parser.add_argument("--name", default="")
        parser.add_argument("--role", action="append", default=[], metavar="R", help="may be repeated")
        parser.add_argument("--ttl", default=str(DEFAULT_TTL), metavar="SECONDS", help="default: one hour")
        parser.add_argument("--audience", help="default: this gateway, which refuses every other")
        parser.add_argument(
            "--claim", action="append", default=[], metavar="K=V", help="V is JSON, else text; may be repeated"
        )
        parser.add_argument("--list", action="store_true", help="the tokens that are out, and mint none")
        parser.add_argument("--quiet", action="store_true", help="print the token and nothing else")

    def handle(self, *, subject: str | None, **options: Any) -> None:
        if options["list"]:
            self._list(subject)
        elif subject is None:
            raise CommandError("name the subject, or --list the tokens that are out")
        else:
            self._mint(subject, **options)

    def _list(self, subject: str | None) -> None:
        trust, tokens = _load_snapshot().trust, unexpired()
        for row in tokens.filter(subject=subject) if subject else tokens:
            refused = "  revoked" if is_refused(row, trust) else ""
            roles = ",".join(row.roles) or "-"
            self.stdout.write(
                f"{row.jti}  {row.subject}  {roles}  until {_text(row.expires_at)}  {row.minted_by}{refused}"
            )

    def _mint(self, subject: str, role: list[str], audience: str | None, quiet: bool, **options: Any) -> None:
        ttl, extra_claims = _parse_ttl(options["ttl"]), _parse_claims(options["claim"])
        current = _load_snapshot()
        try:
            token, row = mint_access_token(
                current.trust,
                subject,
                Machine(f"mint_token by {user_name()}"),
                ttl=ttl,
                audience=audience,
                email=options["email"],
                name=options["name"],
                roles=role,
                extra_claims=extra_claims,
            )
        except ClaimRefused as error:
            raise CommandError(str(error)) from error
        self._warn_of_unknown(role, current.document)
        self.stdout.write(token)
        if not quiet:
            # Scripts read the token and the curl line of standard output.
            self.stderr.write(f"jti {row.jti}, expires {_text(row.expires_at)}")
            if audience in (None, current.trust.audience):
                self.stdout.write(f"\n{_curl_line(token, current.document)}")

    def _warn_of_unknown(self, roles: Iterable[str], document: PolicyDocument) -> None:
        for role in sorted(set(roles) - document.roles.keys()):
            self.stderr.write(f"warning: the policy knows no role {role!r}")


def _load_snapshot() -> snapshot.Snapshot:
    try:
        return watcher.load()
    except (KeyUnusable, PolicyInvalid) as error:
        raise CommandError(str(error)) from error


def _parse_ttl(text: str) -> int:
    ttl = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 0 < ttl <= MAX_TTL:
        raise CommandError(f"--ttl must be whole seconds from 1 to {MAX_TTL}, not {text!r}")
    return ttl


def _parse_claims(pairs: Iterable[str]) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"--claim must look like NAME=VALUE, not {pair!r}")
        if name in claims:
            raise CommandError(f"--claim {name} is given twice")
        claims[name] = _parse_value(text)
    return claims


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _curl_line(token: str, document: PolicyDocument) -> str:
    header = shlex.quote(f"Authorization: Bearer {token}")
    return f"curl -H {header} {shlex.quote(settings.AUTHGATE_PUBLIC_URL + _path_to_try(document))}"


def _path_to_try(document: PolicyDocument) -> str:
    """Of a route that asks who is there and answers a plain GET on the public URL; /auth/me always does."""
    for route in document.routes:
        if route.enabled and route.access != "public" and not route.host and "GET" in (route.methods or ("GET",)):
            return route.path
    return f"{settings.AUTHGATE_AUTH_PREFIX}/me"
