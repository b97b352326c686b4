from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.db.models import BooleanField, Case, CharField, ExpressionWrapper, F, IntegerField, Q, QuerySet, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Length, Replace
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import mark_safe

from authgate.admin.forms import ROUTE_TIMEOUTS, RouteForm
from authgate.admin.publishing import PolicyAdmin
from authgate.models.policy import Route, Upstream

MANY_UPSTREAMS = 40


def _count(field: str, character: str) -> Combinable:
    return Length(field) - Length(Replace(field, Value(character)))


def _rank(condition: Q) -> Combinable:
    return ExpressionWrapper(condition, output_field=BooleanField())


def _text(field: str) -> Combinable:
    return ExpressionWrapper(F(field), output_field=CharField())


_WILDCARD = Q(host__startswith="*")
# The same order as policy.table.match_order, as the database can sort by it: whoever comes first wins.
MATCH_ORDER: list[str | Combinable] = [
    Case(When(host="", then=2), When(_WILDCARD, then=1), default=0, output_field=IntegerField()),
    Case(When(_WILDCARD, then=-_count("host", ".")), default=0, output_field=IntegerField()),
    _text("host"),
    _rank(~Q(match=Route.Match.EXACT)),
    -(_count("path", "/") - Case(When(path__endswith="/", then=1), default=0, output_field=IntegerField())),
    _text("path"),
    _rank(Q(methods=[])),
    _text("name"),
]


class HostFilter(admin.SimpleListFilter):
    """By kind: the hosts themselves may be thousands, and the search finds them."""

    title = "host"
    parameter_name = "host_kind"
    _KINDS = {"exact": ~Q(host="") & ~_WILDCARD, "wildcard": _WILDCARD, "any": Q(host="")}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("exact", "one host"), ("wildcard", "wildcard"), ("any", "any host")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(self._KINDS.get(self.value() or "", Q()))


_WHERE_TO: Any = [
    "upstream", "redirect", "strip_prefix", "add_prefix", "preserve_host", "upstream_host",
    "pass_authorization", "pass_headers",
]  # fmt: skip


_CHANGED: Any = ["security_headers", "request_headers", "response_headers", "cors", "compress"]


@admin.register(Route)
class RouteAdmin(PolicyAdmin[Route]):
    form = RouteForm
    ordering = MATCH_ORDER
    list_display = ["name", "requests", "shown_methods", "who", "where_to", "limit", "enabled"]
    list_select_related = ["upstream", "rate_limit"]
    search_fields = ["name", "path", "host", "upstream__name"]
    actions = ["enable", "disable"]
    save_as = True
    fieldsets = [
        (None, {"fields": ["name", "enabled"]}),
        ("Which requests", {"fields": ["host", "path", "match", "paths", "methods", "other_methods"]}),
        ("Who may", {"fields": ["access", "roles", "rate_limit"]}),
        ("Which tokens", {"classes": ["collapse"], "fields": ["issuers", "scopes", "audience", "basic"]}),
        ("Which tools", {"classes": ["collapse"], "fields": ["mcp", "allow", "deny"]}),
        ("Where to", {"fields": _WHERE_TO}),
        ("Who calls", {"classes": ["collapse"], "fields": ["identity_headers"]}),
        (
            "Changed headers",
            {
                "classes": ["collapse"],
                "fields": _CHANGED,
            },
        ),
        ("Limits", {"classes": ["collapse"], "fields": ["max_body", *ROUTE_TIMEOUTS]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        return super().get_queryset(request).prefetch_related("roles")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            # Beside a menu, one slip away from deleting what other routes use.
            field.widget.can_delete_related = False
        return field

    def get_list_filter(self, request: HttpRequest) -> Any:
        few = Upstream.objects.count() <= MANY_UPSTREAMS
        return ["access", "enabled", HostFilter, "roles", *(["upstream"] if few else [])]

    @admin.display(description="requests")
    def requests(self, route: Route) -> str:
        below = "" if route.match == Route.Match.EXACT else "…" if route.path.endswith("/") else "/…"
        return format_html("{}{}{}{}", route.host, mark_safe("<wbr>") if route.host else "", route.path, below)

    @admin.display(description="methods", empty_value="all")
    def shown_methods(self, route: Route) -> str | None:
        return ", ".join(map(str, route.methods)) or None

    @admin.display(description="access")
    def who(self, route: Route) -> str:
        names = ", ".join(role.name for role in route.roles.all())
        return f"{route.access}: {names}" if names else route.access

    @admin.display(description="upstream", ordering="upstream__name")
    def where_to(self, route: Route) -> str | None:
        if route.redirect:
            return f"redirect to {route.redirect['to']}"
        return str(route.upstream) if route.upstream else None

    @admin.display(ordering="rate_limit__name")
    def limit(self, route: Route) -> str | None:
        return str(route.rate_limit) if route.rate_limit else None

    @admin.action(description="Enable selected routes", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        self._switch(request, queryset, enabled=True)

    @admin.action(description="Disable selected routes", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        self._switch(request, queryset, enabled=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Route], *, enabled: bool) -> None:
        said = self._named("enabled" if enabled else "disabled", queryset)
        Route.objects.filter(pk__in=queryset.values("pk")).update(enabled=enabled)
        self.publish(request, said)
