"""What of a request reached the gateway, told to the doctor alone. It proves that it knows AUTHGATE_SECRET_KEY; to
everybody else there is nothing here.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from authgate.gate.facts import is_trusted_proxy
from authgate.observe.access_log import Record
from authgate.request import RequestFacts
from authgate.sealing import SealBroken, seal_text, unseal_text
from authgate.state import watcher

PATH = f"{settings.AUTHGATE_AUTH_PREFIX}/reflection"
PROOF = "Authgate-Doctor"
# As the session's cookie is, so that whatever drops that one drops this one.
COOKIE = "__Host-authgate_doctor" if settings.SECURE else "authgate_doctor"
_PURPOSE = "doctor"
_SECONDS = 300
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Reflection:
    nonce: str
    scheme: str
    host: str
    port: int
    client: str
    peer: str  # whoever opened the connection
    is_trusted: bool  # whether the peer may speak for others
    wants_upgrade: bool
    has_cookie: bool
    forwarded: dict[str, str]  # as they came, those that count
    problem: str  # why the gateway is not ready


class Question(NamedTuple):
    nonce: str
    proof: str


def new_question() -> Question:
    nonce = secrets.token_hex(16)
    return Question(nonce, seal_text(f"{nonce} {int(time.time()) + _SECONDS}", purpose=_PURPOSE))


def read_reflection(body: bytes, question: Question) -> Reflection | None:
    """None: it is not an answer of this gateway."""
    try:
        reflection = msgspec.json.decode(body, type=Reflection)
    except msgspec.MsgspecError:
        return None
    return reflection if reflection.nonce == question.nonce else None


@require_safe
async def reflect(request: HttpRequest) -> HttpResponse:
    nonce, facts = _proven(request.headers.get(PROOF, "")), _facts(request)
    if nonce is None or facts is None:
        raise Http404
    cookie = request.COOKIES.get(COOKIE, "")
    response = JsonResponse(asdict(_reflection(nonce, facts, has_cookie=bool(cookie))))
    if cookie:
        response.set_cookie(COOKIE, cookie, max_age=60, secure=settings.SECURE, httponly=True, samesite="Lax")
    return response


def _reflection(nonce: str, facts: RequestFacts, *, has_cookie: bool) -> Reflection:
    peer = facts.forwarded_for.rpartition(", ")[2]
    received = {name.decode(): facts.headers.values(name) for name in settings.AUTHGATE_FORWARDED_HEADERS}
    return Reflection(
        nonce=nonce,
        scheme=facts.scheme,
        host=facts.authority.host,
        port=facts.authority.effective_port(facts.scheme),
        client=facts.client,
        peer=peer,
        is_trusted=is_trusted_proxy(peer),
        wants_upgrade=facts.wants_upgrade,
        has_cookie=has_cookie,
        forwarded={name: b", ".join(values).decode("latin-1") for name, values in received.items() if values},
        problem=watcher.not_ready() or "",
    )


def _proven(proof: str) -> str | None:
    """The nonce of a question that is not out of date."""
    if not proof or len(proof) > _LONGEST:
        return None
    try:
        nonce, _, until = unseal_text(proof, purpose=_PURPOSE).partition(" ")
    except SealBroken:
        return None
    return nonce if int(until) >= time.time() else None


def _facts(request: HttpRequest) -> RequestFacts | None:
    record: Record | None = getattr(request, "scope", {}).get("state", {}).get("record")
    return record.facts if record is not None else None
