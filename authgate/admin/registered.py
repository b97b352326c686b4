"""Everything that /admin/ shows. Loaded once there are models and a site (authgate/apps.py)."""

from __future__ import annotations

from django.contrib import admin

from authgate.admin import (
    accounts,
    issuers,
    people,
    policy,
    revisions,
    routes,
    service_tokens,
    sessions,
    trust,
    upstreams,
)

__all__ = [
    "accounts",
    "issuers",
    "people",
    "policy",
    "revisions",
    "routes",
    "service_tokens",
    "sessions",
    "trust",
    "upstreams",
]

admin.site.site_header = "authgate policy"
admin.site.site_title = "authgate"
admin.site.index_title = "Overview"
