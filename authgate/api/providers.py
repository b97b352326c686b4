"""Identity providers. Their client secrets are written and never shown."""

from __future__ import annotations

from typing import Any, Literal

from django.core.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api import problems
from authgate.api.bodies import plain, read_body
from authgate.api.callers import turn
from authgate.api.conditions import answer, check_conditions
from authgate.api.diagnosis import answer_findings
from authgate.api.lists import PAGE, answer_page, flag, flag_of, text
from authgate.api.schema import FieldError, Operation
from authgate.api.views import ApiView
from authgate.models.people import DAY, IdentityProvider, default_scopes
from authgate.oidc import event_endpoint
from authgate.oidc.diagnose import diagnose
from authgate.oidc.to_register import redirect_uris
from authgate.policy.schema import Strict
from authgate.redirect_uri import redirect_uri
from authgate.sessions import registration

_PERMISSION = "identityprovider"
SLUG = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"}


class ProviderSettings(Strict, frozen=True, kw_only=True):
    client_id: str
    name: str = ""  # that of its address
    kind: Literal["oidc", "github", "oauth2"] = "oidc"
    issuer: str = ""
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    userinfo_endpoint: str = ""
    jwks_uri: str = ""
    end_session_endpoint: str = ""
    scopes: tuple[str, ...] = tuple(default_scopes())
    claim_mapping: dict[str, str] = {}
    allowed_domains: tuple[str, ...] = ()
    further_audiences: tuple[str, ...] = ()
    require_verified_email: bool = True
    logout: Literal["local", "provider"] = "provider"
    ca_certificates: str = ""
    poll_endpoint: str = ""
    session_idle: int = 8 * 3600
    session_lifetime: int = 7 * DAY
    enabled: bool = True
    public_client: bool = False  # it has no client secret


class ProviderInput(ProviderSettings, frozen=True, kw_only=True):
    slug: str = ""  # that of its address
    # One redirect URI for all hosts, or one for each. Empty: stays as it is; "public" for a new provider.
    callbacks: Literal["", "public", "each"] = ""
    client_secret: str = ""  # empty: stays as it is
    poll_token: str = ""  # the same; without a poll_endpoint it is removed


class Provider(ProviderSettings, frozen=True, kw_only=True):
    slug: str
    callbacks: Literal["public", "each"]
    redirect_uri: str  # of the public URL
    redirect_uris: tuple[str, ...]  # all that the provider has to know
    has_poll_token: bool
    created_at: str


_COLUMNS = tuple(name for name in ProviderSettings.__struct_fields__ if name != "public_client")


class ProviderList(ApiView):
    operations = {
        "get": Operation(
            "All identity providers.", "Provider",
            parameters=(*PAGE, flag("enabled", "Enabled, or not."), text("q", "Only with this text.")), is_list=True,
        )
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view(_PERMISSION)
        rows = IdentityProvider.objects.order_by("slug")
        if (enabled := flag_of(request, "enabled")) is not None:
            rows = rows.filter(enabled=enabled)
        wanted = request.query_params.get("q", "").lower()
        found = [row for row in rows if wanted in f"{row.slug} {row.name} {row.issuer}".lower()]
        return answer_page(request, found, _shown)


class ProviderEntry(ApiView):
    path_schemas = {"slug": SLUG}
    operations = {
        "get": Operation("One identity provider.", "Provider", has_tag=True),
        "put": Operation(
            "Register this provider, or set it to what is sent. Takes a superuser.", "Provider", takes="ProviderInput",
            statuses=(200, 201), has_tag=True,
        ),
        "delete": Operation(
            "Remove this provider and end its sessions. Takes a superuser.", statuses=(204,), has_tag=True
        ),
    }  # fmt: skip

    def get(self, request: Request, slug: str) -> Response:
        self.caller.require_view(_PERMISSION)
        return answer(request, _shown(_row(slug)))

    def put(self, request: Request, slug: str) -> Response:
        sent = read_body(self.sent, ProviderInput)
        if sent.slug not in ("", slug):
            raise problems.invalid([FieldError("slug", "must be the name in the address; leave it out")])
        with turn(request, registration.NEEDED_ACCESS) as caller:
            before = IdentityProvider.objects.filter(slug=slug).first()
            caller.require(f"{'change' if before else 'add'}_{_PERMISSION}")
            check_conditions(request, _shown(before) if before else None)
            row = before or IdentityProvider(slug=slug)
            for name in _COLUMNS:
                setattr(row, name, plain(getattr(sent, name)))
            row.callbacks = sent.callbacks or row.callbacks
            row.name = sent.name or slug
            registration.take_secret(row, sent.client_secret, is_public=sent.public_client)
            event_endpoint.set_token(row, sent.poll_token)
            registration.save(row, caller.actor)
        return answer(request, _shown(row), 200 if before else 201)

    def delete(self, request: Request, slug: str) -> Response:
        with turn(request, registration.NEEDED_ACCESS) as caller:
            caller.require(f"delete_{_PERMISSION}")
            row = _row(slug)
            check_conditions(request, _shown(row))
            try:
                registration.remove([row], caller.actor)
            except ValidationError as refused:
                raise problems.conflict(problems.field_errors(refused)) from refused
        return Response(status=204)


class ProviderTest(ApiView):
    path_schemas = {"slug": SLUG}
    operations = {"post": Operation("Ask the provider, and say what is wrong. Takes a superuser.", "Diagnosis")}

    def post(self, request: Request, slug: str) -> Response:
        with turn(request, registration.NEEDED_ACCESS) as caller:
            caller.require(f"change_{_PERMISSION}")
            row = _row(slug)
        # Outside of the turn: a provider may take its time.
        return answer_findings(diagnose(row))


def _row(slug: str) -> IdentityProvider:
    row = IdentityProvider.objects.filter(slug=slug).first()
    if row is None:
        raise problems.Problem(404, f"There is no identity provider {slug!r}.")
    return row


def _shown(row: IdentityProvider) -> Any:
    columns = {name: getattr(row, name) for name in _COLUMNS}
    return {
        **columns,
        "public_client": not row.sealed_client_secret,
        "slug": row.slug,
        "callbacks": row.callbacks,
        "redirect_uri": redirect_uri(row.slug),
        "redirect_uris": redirect_uris(row),
        "has_poll_token": bool(row.sealed_poll_token),
        "created_at": row.created_at.isoformat(),
    }
