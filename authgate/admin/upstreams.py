"""Upstreams: their form, and how their targets are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from authgate.admin.fields import NumbersField, WeightsField
from authgate.admin.forms import TIMEOUT_FIELDS, LinesField, PolicyForm
from authgate.admin.policy import TIMEOUT_FIELDSET
from authgate.admin.publishing import PolicyAdmin
from authgate.models.policy import Upstream
from authgate.policy.compiler import HEALTH_COLUMNS, TLS_COLUMNS
from authgate.policy.schema import Upstream as UpstreamEntry
from authgate.state.live_upstreams import TargetHealth, health_of

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
    health_status = NumbersField(label="Status", required=False, help_text=_column("health_status").help_text)

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


def _health(upstream: Upstream) -> tuple[TargetHealth, ...]:
    entry = UpstreamEntry(targets=tuple(map(str, upstream.targets)))
    return health_of({upstream.name: entry})[0].targets


def _time(text: str | None) -> str:
    """As the rest of the admin writes it."""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC") if text else "unknown"


def _words(target: TargetHealth) -> str:
    words = [target.health, f"{target.in_flight} in flight"]
    if target.left_out_until:
        words.append(f"left out until {_time(target.left_out_until)}")
    if target.last_error:
        words.append(f"last error {_time(target.last_error_at)}: {target.last_error}")
    return ", ".join(words)


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
    readonly_fields = ["live"]
    list_display = ["name", "shown_targets", "shown_health", "used_by"]
    search_fields = ["name", "targets"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upstream]:
        return super().get_queryset(request).annotate(route_count=Count("routes"))

    def get_fieldsets(self, request: HttpRequest, obj: Upstream | None = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        return shown if obj is None else [shown[0], ("Now", {"fields": ["live"]}), *shown[1:]]

    @admin.display(description="health")
    def shown_health(self, upstream: Upstream) -> str:
        return ", ".join(dict.fromkeys(target.health for target in _health(upstream)))

    @admin.display(description="targets, over all workers of this machine")
    def live(self, upstream: Upstream) -> str:
        return format_html_join(mark_safe("<br>"), "{}: {}", ((t.target, _words(t)) for t in _health(upstream)))

    @admin.display(description="targets")
    def shown_targets(self, upstream: Upstream) -> str:
        return format_html_join(mark_safe("<br>"), "{}", ((target,) for target in upstream.targets))

    @admin.display(description="routes", ordering="route_count")
    def used_by(self, upstream: Any) -> int:
        return int(upstream.route_count)
