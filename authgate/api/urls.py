"""The addresses of the API, one line each."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path

from authgate.api import (
    grants,
    issuers,
    keys,
    people,
    policy,
    providers,
    revisions,
    revocations,
    sections,
    service_tokens,
    upstreams,
    views,
)

app_name = "api"


def _section(name: str) -> list[URLPattern]:
    every, entry = sections.views_of(policy.SECTIONS[name])
    return [path(f"v1/{name}", every.as_view()), path(f"v1/{name}/<str:name>", entry.as_view())]


def _resource(address: str, view: type[views.ApiView], name: str | None = None) -> URLPattern:
    return path(f"v1/{address}", view.as_view(), name=name)


urlpatterns: list[Any] = [
    _resource("policy", policy.PolicyView),
    _resource("upstreams/health", upstreams.UpstreamHealthList),  # before an upstream of this name
    *(pattern for name in policy.SECTIONS for pattern in _section(name)),
    _resource("grants", grants.GrantList),
    _resource("grants/<str:id>", grants.GrantEntry, "grant"),
    _resource("revisions", revisions.RevisionList),
    _resource("revisions/<int:number>", revisions.RevisionEntry),
    _resource("revisions/<int:number>/diff", revisions.RevisionDiff),
    _resource("revisions/<int:number>/rollback", revisions.RevisionRollback),
    _resource("providers", providers.ProviderList),
    _resource("providers/<str:slug>", providers.ProviderEntry),
    _resource("providers/<str:slug>/test", providers.ProviderTest),
    _resource("issuers", issuers.IssuerList),
    _resource("issuers/<str:slug>", issuers.IssuerEntry),
    _resource("issuers/<str:slug>/test", issuers.IssuerTest),
    _resource("people", people.PersonList),
    _resource("people/<int:id>", people.PersonEntry),
    _resource("people/<int:id>/end-sessions", people.PersonSessionsEnd),
    _resource("sessions", people.SessionList),
    _resource("sessions/<str:sid>", people.SessionEntry),
    _resource("service-tokens", service_tokens.ServiceTokenList),
    _resource("service-tokens/<int:id>", service_tokens.ServiceTokenEntry, "service-token"),
    _resource("revoked-tokens", revocations.RevokedTokenList),
    _resource("revocations", revocations.RevocationList),
    _resource("keys", keys.KeyList),
    _resource("keys/<str:kid>", keys.KeyEntry, "key"),
    _resource("keys/<str:kid>/retire", keys.KeyRetire),
]
