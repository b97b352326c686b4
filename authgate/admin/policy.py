from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from authgate.admin.forms import TIMEOUTS, RateLimitForm, RoleForm, RoleGrantForm
from authgate.admin.publishing import PolicyAdmin
from authgate.models.policy import RateLimit, Role, RoleGrant

TIMEOUT_FIELDSET: tuple[str, Any] = ("Timeouts", {"classes": ["collapse"], "fields": TIMEOUTS})


@admin.register(Role)
class RoleAdmin(PolicyAdmin[Role]):
    form = RoleForm
    list_display = ["name", "description", "admin", "used_by", "granted_by"]
    list_filter = ["admin"]
    search_fields = ["name", "description"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Role]:
        counts = {"route_count": Count("routes", distinct=True), "grant_count": Count("grants", distinct=True)}
        return super().get_queryset(request).annotate(**counts)

    @admin.display(description="routes", ordering="route_count")
    def used_by(self, role: Any) -> int:
        return int(role.route_count)

    @admin.display(description="grants", ordering="grant_count")
    def granted_by(self, role: Any) -> int:
        return int(role.grant_count)


@admin.register(RoleGrant)
class RoleGrantAdmin(PolicyAdmin[RoleGrant]):
    form = RoleGrantForm
    fields = ["role", "operator", "claim", "value", "provider"]
    list_display = ["role", "operator", "claim", "value", "provider"]
    list_filter = ["role", "operator", "provider"]
    list_select_related = ["role"]
    search_fields = ["role__name", "claim", "value"]


@admin.register(RateLimit)
class RateLimitAdmin(PolicyAdmin[RateLimit]):
    form = RateLimitForm
    list_display = ["name", "rate", "burst", "per", "used_by"]
    search_fields = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RateLimit]:
        return super().get_queryset(request).annotate(route_count=Count("routes"))

    @admin.display(description="routes", ordering="route_count")
    def used_by(self, limit: Any) -> int:
        return int(limit.route_count)
