"""Entity tags, made from what an object shows, and the conditions of requests on them (RFC 9110 13)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api.problems import precondition_failed


def etag_of(shown: Any) -> str:
    text = json.dumps(shown, sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def answer(request: Request, shown: Any, status: int = 200, **headers: str) -> Response:
    """The object with its tag; without itself to whoever has it already."""
    tag = etag_of(shown)
    if request.method in ("GET", "HEAD") and _names(request.headers.get("If-None-Match", ""), tag):
        return Response(status=304, headers={"ETag": tag})
    return Response(shown, status, headers={"ETag": tag, **headers})


def check_conditions(request: Request, now: Any | None) -> None:
    """`now`: what the object shows inside the caller's turn; None where there is none. Raises Problem."""
    if_match, if_none_match = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if if_match is not None and (now is None or not _names(if_match, etag_of(now), weak=False)):
        raise precondition_failed()
    if if_none_match is not None and now is not None and _names(if_none_match, etag_of(now)):
        raise precondition_failed()


def _names(header: str, tag: str, *, weak: bool = True) -> bool:
    tags = [item.strip() for item in header.split(",")]
    return "*" in tags or tag in tags or (weak and f"W/{tag}" in tags)
