"""People who have signed in, and their sessions."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api import problems
from authgate.api.bodies import read_body, show
from authgate.api.callers import turn
from authgate.api.conditions import answer, check_conditions
from authgate.api.lists import PAGE, answer_page, choice, flag, flag_of, number_of, text
from authgate.api.schema import Operation, Parameter
from authgate.api.views import ApiView
from authgate.models.people import Person, Session
from authgate.policy.schema import Strict
from authgate.sessions import activation, deletion
from authgate.sessions.ending import end_sessions
from authgate.sessions.live import is_live

_MOST = 2**63 - 1
_PERSON = {"type": "integer", "minimum": 1, "maximum": _MOST}
_REASON = "ended over REST"
_OF_PROVIDER = text("provider", "Of this provider, by its slug.")


class PersonShown(Strict, frozen=True):
    id: int
    provider: str
    subject: str  # as services receive it
    email: str
    name: str
    is_active: bool
    created_at: str
    last_login_at: str | None


class PersonChange(Strict, frozen=True):
    is_active: bool  # false: all sessions end, and none begins


class SessionShown(Strict, frozen=True):
    sid: str
    person: int
    subject: str
    host: str
    address: str
    user_agent: str
    created_at: str
    last_seen_at: str
    expires_at: str
    ended_at: str | None
    end_reason: str


class Ended(Strict, frozen=True):
    ended: int


class PersonList(ApiView):
    operations = {
        "get": Operation(
            "People who have signed in.", "Person",
            parameters=(*PAGE, _OF_PROVIDER, flag("is_active", "Kept out, or not."), text("q", "Only with this text.")),
            is_list=True,
        )
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view("person")
        rows = Person.objects.select_related("provider").order_by("pk")
        if (slug := request.query_params.get("provider")) is not None:
            rows = rows.filter(provider__slug=slug)
        if (is_active := flag_of(request, "is_active")) is not None:
            rows = rows.filter(is_active=is_active)
        if wanted := request.query_params.get("q", ""):
            rows = rows.filter(
                Q(email__icontains=wanted) | Q(name__icontains=wanted) | Q(provider_subject__icontains=wanted)
            )
        return answer_page(request, rows, lambda row: show(_person(row)))


class PersonEntry(ApiView):
    path_schemas = {"id": _PERSON}
    operations = {
        "get": Operation("One person.", "Person", has_tag=True),
        "patch": Operation(
            "Keep a person out, or let them in again, which takes a superuser.", "Person", takes="PersonChange",
            has_tag=True,
        ),
        "delete": Operation("Delete a person, which does not keep them out.", statuses=(204,), has_tag=True),
    }  # fmt: skip

    def get(self, request: Request, id: int) -> Response:
        self.caller.require_view("person")
        return answer(request, show(_person(_found(id))))

    def patch(self, request: Request, id: int) -> Response:
        wanted = read_body(self.sent, PersonChange)
        with turn(request) as caller:
            caller.require("change_person")
            row = _found(id)
            check_conditions(request, show(_person(row)))
            if wanted.is_active:
                activation.activate(row, caller.actor)
            else:
                activation.deactivate(row, caller.actor)
            row.refresh_from_db()
        return answer(request, show(_person(row)))

    def delete(self, request: Request, id: int) -> Response:
        with turn(request) as caller:
            caller.require("delete_person")
            check_conditions(request, show(_person(_found(id))))
            try:
                deletion.delete(Person.objects.filter(pk=id), caller.actor)
            except ValidationError as refused:
                raise problems.conflict(problems.field_errors(refused)) from refused
        return Response(status=204)


class PersonSessionsEnd(ApiView):
    path_schemas = {"id": _PERSON}
    operations = {"post": Operation("End all sessions of a person.", "Ended")}

    def post(self, request: Request, id: int) -> Response:
        with turn(request) as caller:
            caller.require("change_session")
            sessions = Session.objects.filter(person=_found(id))
            return Response(show(Ended(ended=end_sessions(sessions, caller.actor, _REASON))))


class SessionList(ApiView):
    operations = {
        "get": Operation(
            "Sessions, those seen last first.", "Session",
            parameters=(
                *PAGE, choice("state", ("live", "ended"), "Live, or ended or timed out."), _OF_PROVIDER,
                Parameter("person", _PERSON, "Of this person, by their id."),
            ),
            is_list=True,
        )
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view("session")
        rows = _sessions().order_by("-last_seen_at", "pk")
        if state := request.query_params.get("state"):
            now_live = is_live(timezone.now())
            rows = rows.filter(now_live if state == "live" else ~now_live)
        if (slug := request.query_params.get("provider")) is not None:
            rows = rows.filter(person__provider__slug=slug)
        if person := number_of(request, "person", 0, 1, _MOST):
            rows = rows.filter(person=person)
        return answer_page(request, rows, lambda row: show(_session(row)))


class SessionEntry(ApiView):
    path_schemas = {"sid": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}}
    operations = {
        "get": Operation("One session.", "Session", has_tag=True),
        "delete": Operation("End this session; its row stays.", statuses=(204,), has_tag=True),
    }

    def get(self, request: Request, sid: str) -> Response:
        self.caller.require_view("session")
        return answer(request, show(_session(_found_session(sid))))

    def delete(self, request: Request, sid: str) -> Response:
        with turn(request) as caller:
            caller.require("change_session")
            check_conditions(request, show(_session(_found_session(sid))))
            end_sessions(Session.objects.filter(sid=sid), caller.actor, _REASON)
        return Response(status=204)


def _found(id: int) -> Person:
    row = Person.objects.select_related("provider").filter(pk=id).first() if id <= _MOST else None
    if row is None:
        raise problems.Problem(404, "There is nobody of this id.")
    return row


def _sessions() -> QuerySet[Session]:
    hidden = ("sealed_id_token", "sealed_refresh_token", "claims")
    return Session.objects.select_related("person__provider").defer(*hidden)


def _found_session(sid: str) -> Session:
    row = _sessions().filter(sid=sid).first()
    if row is None:
        raise problems.Problem(404, "There is no such session.")
    return row


def _person(row: Person) -> PersonShown:
    return PersonShown(
        id=row.pk,
        provider=row.provider.slug,
        subject=row.subject,
        email=row.email,
        name=row.name,
        is_active=row.is_active,
        created_at=row.created_at.isoformat(),
        last_login_at=row.last_login_at.isoformat() if row.last_login_at else None,
    )


def _session(row: Session) -> SessionShown:
    return SessionShown(
        sid=row.sid,
        person=row.person.pk,
        subject=row.person.subject,
        host=row.host,
        address=row.address,
        user_agent=row.user_agent,
        created_at=row.created_at.isoformat(),
        last_seen_at=row.last_seen_at.isoformat(),
        expires_at=row.ends_at.isoformat(),
        ended_at=row.ended_at.isoformat() if row.ended_at else None,
        end_reason=row.end_reason,
    )
