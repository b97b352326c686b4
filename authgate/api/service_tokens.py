"""Service tokens, and the personal tokens of people. A new one is shown in the answer that made it, and never again."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from authgate.api import problems
from authgate.api.bodies import read_body, show
from authgate.api.callers import turn
from authgate.api.conditions import answer, check_conditions, etag_of
from authgate.api.lists import PAGE, answer_page, choice, text
from authgate.api.schema import Operation
from authgate.api.views import ApiView
from authgate.models.service_tokens import LONGEST_DAYS, ServiceToken
from authgate.policy.schema import Strict
from authgate.state import service_tokens
from authgate.state.service_tokens import DEFAULT_DAYS, Wanted

_PERMISSION = "servicetoken"
_MOST = 2**63 - 1
_ID = {"type": "integer", "minimum": 1, "maximum": _MOST}


class NewServiceToken(Strict, frozen=True, kw_only=True):
    name: str
    days: int = DEFAULT_DAYS  # until it expires
    roles: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()  # addresses and CIDR blocks; none: everywhere
    routes: tuple[str, ...] = ()  # by name; none: all
    owner: str = ""


class ServiceTokenShown(Strict, frozen=True, kw_only=True):
    id: int
    jti: str  # by which the log and revocations name it
    name: str
    subject: str
    person: int | None  # of a personal token
    owner: str
    roles: tuple[str, ...]
    networks: tuple[str, ...]
    routes: tuple[str, ...]
    created_at: str
    created_by: str
    expires_at: str
    last_used_at: str | None
    ended_at: str | None
    end_reason: str


class MadeServiceToken(ServiceTokenShown, frozen=True, kw_only=True):
    token: str  # kept nowhere


class ServiceTokenList(ApiView):
    operations = {
        "get": Operation(
            "Service tokens and personal tokens, by name.", "ServiceToken",
            parameters=(
                *PAGE, choice("state", ("live", "over"), "In force, or ended or expired."),
                choice("kind", ("service", "personal"), "Of a service, or of a person."),
                text("q", "Only with this text."),
            ),
            is_list=True,
        ),
        "post": Operation(
            "Make a service token. One with a role that opens `/admin/` or the API takes a superuser.",
            "MadeServiceToken", takes="NewServiceToken", statuses=(201,), has_tag=True,
        ),
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view(_PERMISSION)
        rows = _rows().order_by("name", "pk")
        if state := request.query_params.get("state"):
            is_live = Q(ended_at=None, expires_at__gt=timezone.now())
            rows = rows.filter(is_live if state == "live" else ~is_live)
        if kind := request.query_params.get("kind"):
            rows = rows.filter(person__isnull=kind == "service")
        if wanted := request.query_params.get("q", ""):
            rows = rows.filter(Q(name__icontains=wanted) | Q(owner__icontains=wanted))
        return answer_page(request, rows, lambda row: show(_shown(row)))

    def post(self, request: Request) -> Response:
        new = read_body(self.sent, NewServiceToken)
        wanted = Wanted(new.name, _lasts(new.days), new.roles, new.networks, new.routes, new.owner)
        with turn(request) as caller:
            caller.require(f"add_{_PERMISSION}")
            made = service_tokens.create(wanted, caller.actor)
        shown = show(_shown(made.row))
        headers = {"Location": reverse("api:service-token", args=[made.row.pk]), "ETag": etag_of(shown)}
        return Response({**shown, "token": made.token}, 201, headers=headers)


class ServiceTokenEntry(ApiView):
    path_schemas = {"id": _ID}
    operations = {
        "get": Operation("One service token or personal token.", "ServiceToken", has_tag=True),
        "delete": Operation("End a token at once; its row stays.", statuses=(204,), has_tag=True),
    }

    def get(self, request: Request, id: int) -> Response:
        self.caller.require_view(_PERMISSION)
        return answer(request, show(_shown(_found(id))))

    def delete(self, request: Request, id: int) -> Response:
        with turn(request) as caller:
            caller.require(f"change_{_PERMISSION}")
            check_conditions(request, show(_shown(_found(id))))
            service_tokens.end(ServiceToken.objects.filter(pk=id), caller.actor)
        return Response(status=204)


def _lasts(days: int) -> timedelta:
    return timedelta(days=max(0, min(days, LONGEST_DAYS + 1)))


def _rows() -> QuerySet[ServiceToken]:
    return ServiceToken.objects.select_related("person__provider").defer("digest", "person__claims")


def _found(id: int) -> ServiceToken:
    row = _rows().filter(pk=id).first() if id <= _MOST else None
    if row is None:
        raise problems.Problem(404, "There is no such token.")
    return row


def _shown(row: ServiceToken) -> ServiceTokenShown:
    return ServiceTokenShown(
        id=row.pk,
        jti=row.token_id,
        name=row.name,
        subject=row.subject,
        person=row.person_id,
        owner=row.owner,
        roles=tuple(row.roles),
        networks=tuple(row.networks),
        routes=tuple(row.routes),
        created_at=row.created_at.isoformat(),
        created_by=row.created_by,
        expires_at=row.expires_at.isoformat(),
        last_used_at=row.last_used_at.isoformat() if row.last_used_at else None,
        ended_at=row.ended_at.isoformat() if row.ended_at else None,
        end_reason=row.end_reason,
    )
