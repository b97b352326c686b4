"""What is refused before its time: tokens by their ID, and whatever a subject or an issuer was given until now."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api.bodies import read_body, show
from authgate.api.callers import turn
from authgate.api.lists import PAGE, answer_page, text
from authgate.api.problems import invalid
from authgate.api.schema import FieldError, Operation
from authgate.api.views import ApiView
from authgate.models.trust import Revocation, RevokedToken
from authgate.policy.schema import Strict
from authgate.sessions.revoking import revoke_issuer, revoke_subject
from authgate.state import revocation

_REASON = "revoked over REST"


class TokenToRevoke(Strict, frozen=True):
    jti: str
    reason: str = _REASON


class RevokedTokenShown(Strict, frozen=True):
    jti: str
    reason: str
    created_at: str
    expires_at: str  # the row means nothing after that


class NewRevocation(Strict, frozen=True):
    """Of a subject or of an issuer."""

    subject: str = ""  # as the access log has it
    issuer: str = ""  # by its slug; gateway: all sessions, and all tokens of the gateway's own
    reason: str = _REASON


class RevocationShown(Strict, frozen=True):
    subject: str
    issuer: str
    issued_before: str  # what was issued before is refused
    reason: str
    created_at: str
    expires_at: str  # the row means nothing after that


class SessionsEnded(Strict, frozen=True):
    sessions_ended: int


class RevokedTokenList(ApiView):
    operations = {
        "get": Operation(
            "Tokens and sessions that are refused by their ID.", "RevokedToken",
            parameters=(*PAGE, text("q", "Only with this text in the ID.")), is_list=True,
        ),
        "post": Operation(
            "Refuse a token from now on, by its ID (jti). Once more changes nothing.", "RevokedToken",
            takes="TokenToRevoke", statuses=(201,),
        ),
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view("revokedtoken")
        rows = revocation.in_force().order_by("-created_at", "-pk")
        if wanted := request.query_params.get("q", ""):
            rows = rows.filter(jti__icontains=wanted)
        return answer_page(request, rows, lambda row: show(_token(row)))

    def post(self, request: Request) -> Response:
        new = read_body(self.sent, TokenToRevoke)
        with turn(request) as caller:
            caller.require("add_revokedtoken")
            row = revocation.in_force().filter(jti=new.jti).first()
            row = row or revocation.revoke(new.jti, new.reason, caller.actor)
        return Response(show(_token(row)), 201)


class RevocationList(ApiView):
    operations = {
        "get": Operation(
            "Subjects and issuers of which everything issued before a moment is refused.", "Revocation",
            parameters=(*PAGE, text("q", "Only with this text in the subject or issuer.")), is_list=True,
        ),
        "post": Operation(
            "Refuse everything that a subject was given until now, and end their sessions; or all that an issuer has "
            "issued, which takes a superuser.",
            "SessionsEnded", takes="NewRevocation",
        ),
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view("revocation")
        rows = revocation.all_in_force().order_by("-created_at", "-pk")
        wanted = request.query_params.get("q", "").lower()
        found = [row for row in rows if wanted in f"{row.subject} {row.issuer}".lower()]
        return answer_page(request, found, lambda row: show(_revocation(row)))

    def post(self, request: Request) -> Response:
        new = read_body(self.sent, NewRevocation)
        if bool(new.subject) == bool(new.issuer):
            raise invalid([FieldError("subject", "name a subject or an issuer, and not both")])
        with turn(request) as caller:
            caller.require("add_revocation")
            if new.subject:
                ended = revoke_subject(new.subject, new.reason, caller.actor)
            else:
                ended = revoke_issuer(new.issuer, new.reason, caller.actor)
        return Response(show(SessionsEnded(ended)))


def _token(row: RevokedToken) -> RevokedTokenShown:
    return RevokedTokenShown(row.jti, row.reason, row.created_at.isoformat(), row.expires_at.isoformat())


def _revocation(row: Revocation) -> RevocationShown:
    return RevocationShown(
        row.subject, row.issuer, row.issued_before.isoformat(), row.reason, row.created_at.isoformat(),
        row.expires_at.isoformat(),
    )  # fmt: skip
