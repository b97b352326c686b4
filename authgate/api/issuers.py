"""Issuers of bearer tokens. Their client secrets are written and never shown."""

from __future__ import annotations

from typing import Any, Literal

from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api import problems
from authgate.api.bodies import plain, read_body
from authgate.api.callers import turn
from authgate.api.conditions import answer, check_conditions
from authgate.api.diagnosis import answer_findings
from authgate.api.lists import PAGE, answer_page, flag, flag_of, text
from authgate.api.providers import SLUG
from authgate.api.schema import FieldError, Operation
from authgate.api.views import ApiView
from authgate.authn.issuers import Dpop
from authgate.models.issuers import TokenIssuer, default_algorithms
from authgate.oidc import event_endpoint
from authgate.policy.schema import Strict
from authgate.state import issuers
from authgate.state.issuer_diagnosis import diagnose

_PERMISSION = "tokenissuer"


class IssuerSettings(Strict, frozen=True, kw_only=True):
    issuer: str
    audiences: tuple[str, ...]
    strategy: Literal["jwt", "introspection", "auto"] = "jwt"
    algorithms: tuple[str, ...] = tuple(default_algorithms())
    jwks_url: str = ""
    pasted_keys: str = ""
    typ: Literal["strict", "lenient"] = "lenient"
    dpop: Dpop = "off"
    required_scopes: tuple[str, ...] = ()
    required_claims: dict[str, str | int | bool] = {}
    claim_mapping: dict[str, str] = {}
    leeway: int = 5
    max_age: int = 0
    introspection_endpoint: str = ""
    client_id: str = ""
    client_authentication: Literal["basic", "post", "private_key_jwt"] = "basic"
    introspection_seconds: int = 30
    ca_certificates: str = ""
    poll_endpoint: str = ""
    enabled: bool = True


class IssuerInput(IssuerSettings, frozen=True, kw_only=True):
    slug: str = ""  # that of its address
    client_secret: str = ""  # empty: stays as it is
    poll_token: str = ""  # the same; without a poll_endpoint it is removed


class Issuer(IssuerSettings, frozen=True, kw_only=True):
    slug: str
    has_client_secret: bool
    has_poll_token: bool
    created_at: str


class IssuerTestInput(Strict, frozen=True):
    token: str = ""  # an access token of the issuer, to be judged


_COLUMNS = IssuerSettings.__struct_fields__


class IssuerList(ApiView):
    operations = {
        "get": Operation(
            "All issuers of bearer tokens.", "Issuer",
            parameters=(*PAGE, flag("enabled", "Enabled, or not."), text("q", "Only with this text.")), is_list=True,
        )
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view(_PERMISSION)
        rows = TokenIssuer.objects.order_by("slug")
        if (enabled := flag_of(request, "enabled")) is not None:
            rows = rows.filter(enabled=enabled)
        wanted = request.query_params.get("q", "").lower()
        found = [row for row in rows if wanted in f"{row.slug} {row.issuer}".lower()]
        return answer_page(request, found, _shown)


class IssuerEntry(ApiView):
    path_schemas = {"slug": SLUG}
    operations = {
        "get": Operation("One issuer.", "Issuer", has_tag=True),
        "put": Operation(
            "Take this issuer's tokens, or set it to what is sent. Takes a superuser.", "Issuer", takes="IssuerInput",
            statuses=(200, 201), has_tag=True,
        ),
        "delete": Operation("Refuse this issuer's tokens. Takes a superuser.", statuses=(204,), has_tag=True),
    }  # fmt: skip

    def get(self, request: Request, slug: str) -> Response:
        self.caller.require_view(_PERMISSION)
        return answer(request, _shown(_row(slug)))

    def put(self, request: Request, slug: str) -> Response:
        sent = read_body(self.sent, IssuerInput)
        if sent.slug not in ("", slug):
            raise problems.invalid([FieldError("slug", "must be the name in the address; leave it out")])
        with turn(request, issuers.NEEDED_ACCESS) as caller:
            before = TokenIssuer.objects.filter(slug=slug).first()
            caller.require(f"{'change' if before else 'add'}_{_PERMISSION}")
            check_conditions(request, _shown(before) if before else None)
            row = before or TokenIssuer(slug=slug)
            for name in _COLUMNS:
                setattr(row, name, plain(getattr(sent, name)))
            if sent.client_secret:
                row.sealed_client_secret = issuers.seal_client_secret(slug, sent.client_secret)
            event_endpoint.set_token(row, sent.poll_token)
            issuers.save(row, caller.actor)
        return answer(request, _shown(row), 200 if before else 201)

    def delete(self, request: Request, slug: str) -> Response:
        with turn(request, issuers.NEEDED_ACCESS) as caller:
            caller.require(f"delete_{_PERMISSION}")
            row = _row(slug)
            check_conditions(request, _shown(row))
            issuers.remove([row], caller.actor)
        return Response(status=204)


class IssuerTest(ApiView):
    path_schemas = {"slug": SLUG}
    operations = {
        "post": Operation(
            "Ask the issuer, and judge a token of it. Takes a superuser.", "Diagnosis", takes="IssuerTestInput"
        )
    }

    def post(self, request: Request, slug: str) -> Response:
        sent = read_body(self.sent, IssuerTestInput)
        with turn(request, issuers.NEEDED_ACCESS) as caller:
            caller.require(f"change_{_PERMISSION}")
            row = _row(slug)
        # Outside of the turn: an issuer may take its time.
        return answer_findings(diagnose(row, sent.token))


def _row(slug: str) -> TokenIssuer:
    row = TokenIssuer.objects.filter(slug=slug).first()
    if row is None:
        raise problems.Problem(404, f"There is no issuer {slug!r}.")
    return row


def _shown(row: TokenIssuer) -> Any:
    return {
        **{name: getattr(row, name) for name in _COLUMNS},
        "slug": row.slug,
        "has_client_secret": bool(row.sealed_client_secret),
        "has_poll_token": bool(row.sealed_poll_token),
        "created_at": row.created_at.isoformat(),
    }
