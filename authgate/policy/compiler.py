"""Between the rows that operators edit and the document that workers run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from authgate.models import RateLimit, Role, RoleGrant, Route, Upstream
from authgate.own_hosts import own_hosts
from authgate.policy.document import (
    PolicyDocument,
    PolicyError,
    PolicyInvalid,
    Timeouts,
    When,
    from_plain,
    to_json,
    validate,
)
from authgate.policy.pace import Pace, at_once

_TIMEOUT_COLUMNS = {"connect": "connect_timeout", "response": "response_timeout", "idle": "idle_timeout"}
_ROUTE_COLUMNS = (
    "name", "path", "access", "host", "match", "methods", "strip_prefix", "preserve_host",
    "pass_authorization", "pass_headers", "enabled",
)  # fmt: skip


def check(document: PolicyDocument, *, pace: Pace = at_once) -> list[PolicyError]:
    """Everything wrong with the document on this gateway, with its own hosts and sign-in prefix."""
    return validate(document, own_hosts=own_hosts(), auth_prefix=settings.AUTHGATE_AUTH_PREFIX, pace=pace)


def compile_rows() -> PolicyDocument:
    """The rows as they are in this transaction. Raises PolicyInvalid when one does not fit the schema."""
    return from_plain(
        {
            "version": 1,
            "upstreams": {
                row["name"]: {"targets": row["targets"], "timeouts": _timeouts(row)}
                for row in Upstream.objects.order_by("pk").values()
            },
            "roles": {
                row["name"]: {"description": row["description"], "admin": row["admin"]}
                for row in Role.objects.order_by("pk").values()
            },
            "grants": [_grant(row) for row in RoleGrant.objects.order_by("pk").select_related("role")],
            "rate_limits": {
                row["name"]: {"rate": row["rate"], "burst": row["burst"], "per": row["per"]}
                for row in RateLimit.objects.order_by("pk").values()
            },
            "routes": _routes(),
        }
    )


def apply_document(document: PolicyDocument) -> None:
    """Replace all rows, unless they say the same. The document must be valid; runs in the caller's transaction."""
    if _rows_say(document):
        return  # so that the keys which open pages hold stay good
    for model in (Route.roles.through, Route, RoleGrant, RateLimit, Upstream, Role):
        model._default_manager.all().delete()
    roles = {
        row.name: row
        for row in Role.objects.bulk_create(
            Role(name=name, description=role.description, admin=role.admin) for name, role in document.roles.items()
        )
    }
    RoleGrant.objects.bulk_create(
        RoleGrant(role=roles[grant.role], **_grant_columns(grant.when)) for grant in document.grants
    )
    _create_routes(document, roles)


def _rows_say(document: PolicyDocument) -> bool:
    try:
        # As text: in Python a grant for true equals one for 1.
        return to_json(compile_rows()) == to_json(document)
    except PolicyInvalid:
        return False


def _routes() -> list[dict[str, Any]]:
    roles_of: defaultdict[int, list[str]] = defaultdict(list)
    through = Route.roles.through.objects.order_by("pk")
    for route_id, role in through.values_list("route_id", "role__name"):
        roles_of[route_id].append(role)
    rows = Route.objects.order_by("pk").values(
        "pk", "upstream__name", "rate_limit__name", *_ROUTE_COLUMNS, *_TIMEOUT_COLUMNS.values()
    )
    return [
        {column: row[column] for column in _ROUTE_COLUMNS}
        | {
            "upstream": row["upstream__name"],
            "rate_limit": row["rate_limit__name"] or "",
            "roles": roles_of[row["pk"]],
            "timeouts": _timeouts(row),
        }
        for row in rows
    ]


def _create_routes(document: PolicyDocument, roles: dict[str, Role]) -> None:
    upstreams = {
        row.name: row
        for row in Upstream.objects.bulk_create(
            Upstream(name=name, targets=list(upstream.targets), **_timeout_columns(upstream.timeouts))
            for name, upstream in document.upstreams.items()
        )
    }
    limits = {
        row.name: row
        for row in RateLimit.objects.bulk_create(
            RateLimit(name=name, rate=limit.rate, burst=limit.burst, per=limit.per)
            for name, limit in document.rate_limits.items()
        )
    }
    rows = Route.objects.bulk_create(
        Route(
            **{column: getattr(route, column) for column in _ROUTE_COLUMNS}
            | {"methods": list(route.methods), "pass_headers": list(route.pass_headers)},
            upstream=upstreams[route.upstream],
            rate_limit=limits.get(route.rate_limit),
            **_timeout_columns(route.timeouts),
        )
        for route in document.routes
    )
    through = Route.roles.through
    through.objects.bulk_create(
        through(route_id=row.pk, role_id=roles[role].pk)
        for row, route in zip(rows, document.routes, strict=True)
        for role in route.roles
    )


def _timeouts(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: row[column] for name, column in _TIMEOUT_COLUMNS.items()}


def _timeout_columns(timeouts: Timeouts) -> dict[str, float | None]:
    return {column: getattr(timeouts, name) for name, column in _TIMEOUT_COLUMNS.items()}


def _grant(row: RoleGrant) -> dict[str, Any]:
    if row.operator == RoleGrant.Operator.AUTHENTICATED:
        when: dict[str, Any] = {"authenticated": True}
    else:
        when = {"claim": row.claim, str(row.operator): row.value}
    when["provider"] = row.provider
    return {"role": row.role.name, "when": when}


def _grant_columns(when: When) -> dict[str, Any]:
    columns: dict[str, Any] = {"provider": when.provider, "claim": when.claim}
    if when.authenticated:
        return columns | {"operator": RoleGrant.Operator.AUTHENTICATED}
    if when.contains is not None:
        return columns | {"operator": RoleGrant.Operator.CONTAINS, "value": when.contains}
    return columns | {"operator": RoleGrant.Operator.EQUALS, "value": when.equals}
