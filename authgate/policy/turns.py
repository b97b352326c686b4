"""The turns of those who change policy or trust: one after the other, each allowed or refused when it has come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import PermissionDenied
from django.db import transaction

from authgate.models import versions
from authgate.policy.powers import Actor, includes
from authgate.policy.schema import AdminAccess


@contextmanager
def turn_of(actor: Actor, needed: AdminAccess) -> Iterator[None]:
    """A transaction with the lock of all such changes. Raises PermissionDenied.

    The actor's access is read inside the lock, since another operator's change may have taken it away meanwhile.
    """
    with transaction.atomic():
        versions.lock("policy")
        require(actor, needed)
        yield


def require(actor: Actor, needed: AdminAccess) -> None:
    """Raises PermissionDenied. Call it inside the actor's turn."""
    if not includes(actor.access(), needed):
        raise PermissionDenied("A superuser is needed for that." if needed == "superuser" else "")
