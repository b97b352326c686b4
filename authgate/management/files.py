"""What commands read from files that an option names."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from authgate.oidc.event_endpoint import Transmitter, set_token
from authgate.system_user import cause_of

_MAX_FILE = 1024 * 1024


def read_text(name: str, option: str) -> str:
    """Raises CommandError."""
    try:
        with Path(name).open("rb") as file:
            return file.read(_MAX_FILE).decode("utf-8")
    except OSError as error:
        raise CommandError(f"{option} {name}: {cause_of(error)}") from error
    except ValueError as error:
        raise CommandError(f"{option} {name}: is not text") from error


def secret_of(*, client_secret: str | None, client_secret_file: str | None, else_say: str = "", **_: Any) -> str:
    """Of --client-secret or --client-secret-file. Raises CommandError; `else_say`: what to do without a secret."""
    given, option = client_secret, "--client-secret"
    if given is None:
        given, option = read_text(str(client_secret_file), "--client-secret-file"), "--client-secret-file"
    if not given.strip():
        raise CommandError(f"{option} is empty{else_say}")
    return given.strip()


def add_polling(add: ArgumentParser) -> None:
    add.add_argument("--poll-endpoint", metavar="URL", help="where security events are fetched (RFC 8936)")
    add.add_argument("--poll-token-file", metavar="F", help="with the Bearer token for it")


def take_polling(transmitter: Transmitter, *, poll_endpoint: str | None, poll_token_file: str | None, **_: Any) -> None:
    """Raises ValidationError or CommandError."""
    transmitter.poll_endpoint = poll_endpoint or ""
    if poll_token_file:
        set_token(transmitter, read_text(poll_token_file, "--poll-token-file").strip())
