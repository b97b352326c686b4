"""Signing keys: made and retired. Neither half of one is shown."""

from __future__ import annotations

from typing import Literal

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from authgate.api import problems
from authgate.api.bodies import read_body, show
from authgate.api.callers import turn
from authgate.api.conditions import answer
from authgate.api.lists import PAGE, answer_page, choice, flag, flag_of
from authgate.api.schema import Operation
from authgate.api.views import ApiView
from authgate.models.trust import SigningKey
from authgate.policy.schema import Strict
from authgate.state import signing_keys

_PERMISSION = "signingkey"
_KID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_PURPOSES = tuple(map(str, SigningKey.Purpose))


class NewKey(Strict, frozen=True):
    purpose: Literal["tokens", "assertions"]
    algorithm: Literal["RS256", "ES256"]


class Key(Strict, frozen=True):
    kid: str
    purpose: str
    algorithm: str
    created_at: str
    retired_at: str | None


class KeyList(ApiView):
    operations = {
        "get": Operation(
            "All signing keys, the newest first.", "Key",
            parameters=(*PAGE, choice("purpose", _PURPOSES, "Of this purpose."), flag("retired", "Retired, or not.")),
            is_list=True,
        ),
        "post": Operation(
            "Make a key, which signs from now on. The older ones go on verifying until retired.", "Key",
            takes="NewKey", statuses=(201,), has_tag=True,
        ),
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view(_PERMISSION)
        rows = SigningKey.objects.defer("private_key").order_by("-created_at", "-pk")
        if purpose := request.query_params.get("purpose"):
            rows = rows.filter(purpose=purpose)
        if (retired := flag_of(request, "retired")) is not None:
            rows = rows.filter(retired_at__isnull=not retired)
        return answer_page(request, rows, lambda row: show(_shown(row)))

    def post(self, request: Request) -> Response:
        new = read_body(self.sent, NewKey)
        with turn(request) as caller:
            caller.require(f"add_{_PERMISSION}")
            purpose, algorithm = SigningKey.Purpose(new.purpose), SigningKey.Algorithm(new.algorithm)
            row = signing_keys.create(purpose, algorithm, caller.actor)
        return answer(request, show(_shown(row)), 201, Location=reverse("api:key", args=[row.kid]))


class KeyEntry(ApiView):
    path_schemas = {"kid": _KID}
    operations = {"get": Operation("One signing key.", "Key", has_tag=True)}

    def get(self, request: Request, kid: str) -> Response:
        self.caller.require_view(_PERMISSION)
        return answer(request, show(_shown(_found(kid))))


class KeyRetire(ApiView):
    path_schemas = {"kid": _KID}
    operations = {"post": Operation("Retire a key for good: what it signed is refused from now on.", "Key")}

    def post(self, request: Request, kid: str) -> Response:
        with turn(request) as caller:
            caller.require(f"change_{_PERMISSION}")
            row = _found(kid)
            signing_keys.retire([row], caller.actor)
            row.refresh_from_db()
        return Response(show(_shown(row)))


def _found(kid: str) -> SigningKey:
    row = SigningKey.objects.defer("private_key").filter(kid=kid).first()
    if row is None:
        raise problems.Problem(404, "There is no such key.")
    return row


def _shown(row: SigningKey) -> Key:
    return Key(
        kid=row.kid,
        purpose=row.purpose,
        algorithm=row.algorithm,
        created_at=row.created_at.isoformat(),
        retired_at=row.retired_at.isoformat() if row.retired_at else None,
    )
