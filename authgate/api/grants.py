"""Grants have no names: each is known by what it says, so that making one twice makes one."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from authgate.api import problems
from authgate.api.bodies import read_body, show
from authgate.api.callers import Caller
from authgate.api.conditions import answer, check_conditions
from authgate.api.lists import PAGE, answer_page, matching, text
from authgate.api.publishing import DRY_RUN, Changed, publishing, removal
from authgate.api.schema import Operation
from authgate.api.views import ApiView
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import PowersRefused
from authgate.policy.schema import Grant

_PERMISSION = "rolegrant"
ID = {"type": "string", "pattern": "^[0-9a-f]{24}$"}


def grant_id(grant: Grant) -> str:
    return hashlib.sha256(msgspec.json.encode(grant)).hexdigest()[:24]


def _shown(grant: Grant) -> dict[str, Any]:
    return {"id": grant_id(grant), **show(grant)}


class GrantList(ApiView):
    operations = {
        "get": Operation(
            "All grants, in the policy's order.", "RoleGrant",
            parameters=(*PAGE, text("role", "Of this role."), text("provider", "Only where this provider counts.")),
            is_list=True,
        ),
        "post": Operation(
            "Make a grant. One that is there already stays as it is.", "RoleGrant", takes="Grant",
            parameters=(DRY_RUN,), statuses=(200, 201), has_tag=True, is_trial=True,
        ),
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view(_PERMISSION)
        filters = {
            "role": lambda grant, wanted: grant.role == wanted,
            "provider": lambda grant, wanted: grant.when.provider == wanted,
        }
        return answer_page(request, matching(request, revisions.live_document().grants, filters), _shown)

    def post(self, request: Request) -> Response:
        grant = read_body(self.sent, Grant)
        return publishing(request, lambda caller, live: self._add(request, caller, live, grant))

    def _add(self, request: Request, caller: Caller, live: PolicyDocument, grant: Grant) -> Changed:
        caller.require(f"add_{_PERMISSION}")
        where = reverse("api:grant", args=[grant_id(grant)])
        if grant_id(grant) in map(grant_id, live.grants):
            return Changed(None, answer(request, _shown(grant), 200, Location=where))
        document = msgspec.structs.replace(live, grants=(*live.grants, grant))
        try:
            published = revisions.replace(document, caller.actor, f"added grant of {grant.role}", allow_empty=True)
        except PowersRefused:
            raise
        except PolicyInvalid as refused:
            raise problems.invalid(problems.policy_errors(refused, ("grants", len(live.grants)))) from refused
        return Changed(published, answer(request, _shown(grant), 201, Location=where))


class GrantEntry(ApiView):
    path_schemas = {"id": ID}
    operations = {
        "get": Operation("One grant.", "RoleGrant", has_tag=True),
        "delete": Operation(
            "Take this grant back.", "Publication", parameters=(DRY_RUN,), statuses=(200, 204), has_tag=True
        ),
    }

    def get(self, request: Request, id: str) -> Response:
        self.caller.require_view(_PERMISSION)
        return answer(request, _shown(_found(revisions.live_document(), id)))

    def delete(self, request: Request, id: str) -> Response:
        return publishing(request, lambda caller, live: self._remove(request, caller, live, id))

    def _remove(self, request: Request, caller: Caller, live: PolicyDocument, id: str) -> Changed:
        caller.require(f"delete_{_PERMISSION}")
        gone = _found(live, id)
        check_conditions(request, _shown(gone))
        document = msgspec.structs.replace(live, grants=tuple(grant for grant in live.grants if grant is not gone))
        return removal(revisions.replace(document, caller.actor, f"deleted grant of {gone.role}", allow_empty=True))


def _found(document: PolicyDocument, id: str) -> Grant:
    for grant in document.grants:
        if grant_id(grant) == id:
            return grant
    raise problems.Problem(404, "There is no such grant.")
