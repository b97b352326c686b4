"""What the first start of the demo writes into the data directory; later starts keep it."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, transaction

from authgate.models.policy import PolicyRevision
from authgate.oidc.to_register import live_hosts
from authgate.policy import document, revisions
from authgate.policy.powers import Machine
from authgate.state.trust import load_trust
from authgate.wire.authority import Authority, Origin, parse_origin
from gateway_site.demo import traces

POLICY_FILE = Path(__file__).with_name("policy.yaml")
APPLICATION_HOST = "wiki.localhost"  # as policy.yaml names it
LONGEST_SOCKET_PATH = 107  # sun_path of Linux, less its final zero


def socket_path(data_dir: Path) -> Path:
    """A socket, not a port: the policy names it for good and nothing else can have taken it meanwhile."""
    path = data_dir / "demo.sock"
    if len(str(path).encode()) > LONGEST_SOCKET_PATH:
        raise CommandError(f"AUTHGATE_DATA_DIR: too long a path for a Unix socket in it: {data_dir}")
    return path


def prepare(data_dir: Path) -> None:
    """Database, keys and policy. Raises CommandError for the database of somebody's gateway, which stays as it is."""
    with suppress(DatabaseError):  # there is none yet
        _refuse_others()
    call_command("migrate", verbosity=0, interactive=False)
    load_trust()
    with transaction.atomic():
        _refuse_others()
        traces.mark()
        if not PolicyRevision.objects.exists():
            text = POLICY_FILE.read_text(encoding="utf-8").replace("@TARGET@", f"unix:{socket_path(data_dir)}")
            revisions.replace(document.parse_yaml(text), Machine(traces.AUTHOR), traces.COMMENT)


def application_url(url: str) -> str:
    """Of the application with a host of its own; empty if the policy names that no more."""
    public = parse_origin(url)
    is_there = APPLICATION_HOST in live_hosts()
    return str(Origin(public.scheme, Authority(APPLICATION_HOST, public.authority.port))) if is_there else ""


def _refuse_others() -> None:
    """Anybody may sign in at the demo's provider: in a real gateway it would let them all in."""
    if traces.is_a_gateway_of_others():
        raise CommandError(
            "The database here is that of a gateway in use, and the demo would let anybody sign in to it. "
            "Set AUTHGATE_DATA_DIR to a new directory, and no AUTHGATE_DATABASE_URL."
        )


def create_admin() -> str | None:
    """The new account's password; None when there is an account already."""
    users = get_user_model().objects
    if users.filter(username=traces.ADMIN).exists():
        return None
    password = secrets.token_urlsafe(15)
    traces.note_account(users.create_superuser(traces.ADMIN, traces.ADMIN_EMAIL, password))
    return password
