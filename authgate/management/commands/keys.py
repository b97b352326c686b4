from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from authgate.authn.keys import KeyUnusable
from authgate.management.asking import add_yes, confirm
from authgate.models.trust import SigningKey
from authgate.policy.powers import Machine
from authgate.sessions.key_ends import effects_of_retiring
from authgate.sessions.live import count
from authgate.sessions.reseal import reseal
from authgate.state import signing_keys
from authgate.state.key_files import file_keys
from authgate.state.signing_keys import Purpose, find_or_create, in_files, signer_of


class Command(BaseCommand):
    help = "Signing keys: list them, make the next one, retire one, seal all secrets with a new AUTHGATE_SECRET_KEY."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="all keys that are not retired, and what each is for")
        rotate = actions.add_parser("rotate", help="make the next key: published now, signing an hour later")
        rotate.add_argument(
            "--purpose", choices=Purpose.values, metavar="P", help="tokens or assertions; default: both"
        )
        rotate.add_argument("--now", action="store_true", help="sign with it at once, such as after a theft")
        retire = actions.add_parser("retire", help="refuse what a key has signed, at once and for good")
        retire.add_argument("kid", metavar="KID")
        add_yes(retire)
        actions.add_parser("reseal", help="after a change of AUTHGATE_SECRET_KEY: let go of the one before it")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            getattr(self, f"_{action}")(**options)
        except (ValidationError, KeyUnusable) as error:
            messages = error.messages if isinstance(error, ValidationError) else [str(error)]
            raise CommandError("\n".join(messages)) from error

    def _list(self, **_: Any) -> None:
        for number, pair in enumerate(file_keys()):
            self.stdout.write(f"{pair.kid}  tokens  {pair.algorithm}  {'verifies' if number else 'signs'} (file)")
        for purpose in Purpose:
            for line in _lines(purpose):
                self.stdout.write(line)

    def _rotate(self, purpose: str | None, now: bool, **_: Any) -> None:
        lead = timedelta() if now else signing_keys.LEAD
        asked = [Purpose(purpose)] if purpose else [known for known in Purpose if not in_files(known)]
        for known in asked:
            key = signing_keys.rotate(known, Machine("keys rotate"), lead=lead)
            self.stdout.write(f"{key.kid}  {key.purpose}  {key.algorithm}  {_when(key, timezone.now())}")
        if not purpose and in_files(Purpose.TOKENS):
            self.stderr.write("Tokens are signed with AUTHGATE_SIGNING_KEY_FILE: replace that (docs/keys.md).")
        self.stdout.write("Older keys verify until everything that they have signed has expired, then they retire.")

    def _retire(self, kid: str, yes: bool, **_: Any) -> None:
        key = SigningKey.objects.filter(kid=kid).first()
        if key is None:
            is_file = any(pair.kid == kid for pair in file_keys())
            raise CommandError(
                "that key is in a file: take it out of AUTHGATE_SIGNING_KEY_FILE" if is_file else "there is no such key"
            )
        if key.retired_at is not None:
            raise CommandError("that key is retired already")
        confirm(*effects_of_retiring([key]), signing_keys.FOR_GOOD, yes=yes)
        signing_keys.retire([key], Machine("keys retire"))
        self.stdout.write(f"{kid} is retired: what it has signed is refused everywhere from now on")

    def _reseal(self, **_: Any) -> None:
        found = reseal(Machine("keys reseal"))
        for noun, number in found.done.items():
            self.stdout.write(f"{count(number, noun)} sealed with the secret key of today")
        for noun, number in found.broken.items():
            self.stderr.write(f"{count(number, noun)}: no secret key opens {'it' if number == 1 else 'them'}")
        if found.broken:
            raise CommandError(
                "what cannot be opened was left as it is; keep AUTHGATE_SECRET_KEY_FALLBACK, or enter it anew"
            )
        if settings.SECRET_KEY_FALLBACKS:
            self.stdout.write("Nothing needs AUTHGATE_SECRET_KEY_FALLBACK any more: take it out of the settings.")
        else:
            self.stdout.write("Everything is sealed with AUTHGATE_SECRET_KEY.")


def _lines(purpose: SigningKey.Purpose) -> Iterator[str]:
    keys, now = find_or_create(purpose), timezone.now()
    signer = None if in_files(purpose) else signer_of(keys, now)
    for key in keys:
        yield f"{key.kid}  {key.purpose}  {key.algorithm}  {'signs' if key is signer else _when(key, now)}"


def _when(key: SigningKey, now: datetime) -> str:
    if key.signs_from > now:
        return f"signs from {_text(key.signs_from)}"
    if key.last_expires_at is not None and key.last_expires_at > now:
        return f"verifies, until {_text(key.last_expires_at)} at least"
    return "signs" if key.stopped_at is None else "verifies"


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
