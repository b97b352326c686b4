"""The request head for an upstream, with the caller's identity attached."""

from __future__ import annotations

from django.conf import settings

from authgate.identity.blocks import IdentityBlocks
from authgate.observe.access_log import Record
from authgate.wire.own_cookies import OwnCookies
from proxy.headers import request_head
from proxy.upstream.connection import Target

_blocks = IdentityBlocks()
own_cookies = OwnCookies(secure=settings.SECURE)


def build_head(record: Record, target: Target, body_length: int | None) -> bytes:
    """The head of the allowed request in `record` for this target."""
    facts, decision, snapshot = record.facts, record.decision, record.snapshot
    assert facts is not None and decision is not None and snapshot is not None  # noqa: S101
    entry = decision.route
    assert entry is not None  # noqa: S101  an allowed request has all of them
    identity_block = _blocks.block(decision.identity, entry, snapshot)
    return request_head(facts, entry, target.host_header, body_length, identity_block, record.request_id, own_cookies)
