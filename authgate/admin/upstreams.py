"""Upstreams: their form, and how their targets are."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from authgate.admin.fields import NumbersField, WeightsField
from authgate.admin.forms import TIMEOUT_FIELDS, LinesField, PolicyForm
from authgate.admin.policy import TIMEOUT_FIELDSET
from authgate.admin.publishing import PolicyAdmin
from authgate.models.policy import Upstream
from authgate.policy.compiler import HEALTH_COLUMNS, TLS_COLUMNS

_PLACES = {
    **TIMEOUT_FIELDS,
    **{f"health.{name}": column for name, column in HEALTH_COLUMNS.items()},
    **{f"tls.{name}": column for name, column in TLS_COLUMNS.items()},
    "tls": "targets",
}
_WITH_DEFAULTS = (
    "balance", "retries", "queue", "queue_timeout", "health_interval", "health_timeout", "healthy_after",
    "unhealthy_after",
)  # fmt: skip


def _column(name: str) -> Any:
    return Upstream._meta.get_field(name)


class UpstreamForm(PolicyForm[Upstream]):
    section = "upstreams"
    fields_of_places = _PLACES
    targets = LinesField(help_text=_column("targets").help_text)
    weights = WeightsField(required=False, help_text=_column("weights").help_text)
    health_status = NumbersField(label="status", required=False, help_text=_column("health_status").help_text)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in set(_WITH_DEFAULTS) & set(self.fields):
            self.fields[name].required = False

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in _WITH_DEFAULTS:
            if name in self.data and cleaned.get(name) in (None, "") and name not in self.errors:
                cleaned[name] = _column(name).get_default()
        return cleaned


@admin.register(Upstream)
class UpstreamAdmin(PolicyAdmin[Upstream]):
    form = UpstreamForm
    fieldsets = [
        (None, {"fields": ["name", "targets", "balance"]}),
        ("Spreading", {"classes": ["collapse"], "fields": ["weights", "retries"]}),
        ("Limits", {"classes": ["collapse"], "fields": ["connections", "queue", "queue_timeout"]}),
        ("Health checks", {"classes": ["collapse"], "fields": list(HEALTH_COLUMNS.values())}),
        ("TLS", {"classes": ["collapse"], "fields": list(TLS_COLUMNS.values())}),
        TIMEOUT_FIELDSET,
    ]
    list_display = ["name", "shown_targets", "used_by"]
    search_fields = ["name", "targets"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upstream]:
        return super().get_queryset(request).annotate(route_count=Count("routes"))

    @admin.display(description="targets")
    def shown_targets(self, upstream: Upstream) -> str:
        return ", ".join(map(str, upstream.targets))

    @admin.display(description="routes", ordering="route_count")
    def used_by(self, upstream: Any) -> int:
        return int(upstream.route_count)
