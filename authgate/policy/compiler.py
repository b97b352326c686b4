"""The step from the rows that operators edit to the document that workers run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from authgate.models.policy import RateLimit, Role, RoleGrant, Route, Upstream
from authgate.own_hosts import own_hosts
from authgate.policy.document import (
    PolicyDocument,
    PolicyError,
    from_plain,
    validate,
)
from authgate.policy.pace import Pace, at_once

TIMEOUT_COLUMNS = {"connect": "connect_timeout", "response": "response_timeout", "idle": "idle_timeout"}
ROUTE_TIMEOUT_COLUMNS = {**TIMEOUT_COLUMNS, "total": "total_timeout"}
HEALTH_COLUMNS = {
    "path": "health_path", "status": "health_status", "interval": "health_interval", "timeout": "health_timeout",
    "healthy_after": "healthy_after", "unhealthy_after": "unhealthy_after",
}  # fmt: skip
TLS_COLUMNS = {
    "ca_file": "tls_ca_file", "server_name": "tls_server_name", "client_cert_file": "tls_client_cert_file",
    "client_key_file": "tls_client_key_file", "min_version": "tls_min_version",
}  # fmt: skip
UPSTREAM_COLUMNS = ("targets", "balance", "weights", "retries", "connections", "queue", "queue_timeout")
ROUTE_COLUMNS = (
    "name", "path", "access", "host", "match", "paths", "methods", "strip_prefix", "preserve_host",
    "pass_authorization", "pass_headers", "issuers", "scopes", "audience", "basic", "mcp", "allow", "deny", "enabled",
    "identity_headers", "security_headers", "request_headers", "response_headers", "cors",
    "max_body", "add_prefix", "upstream_host", "redirect", "compress",
)  # fmt: skip


def check(document: PolicyDocument, *, pace: Pace = at_once) -> list[PolicyError]:
    """All errors of the document on this gateway, with its own hosts and sign-in prefix."""
    return validate(document, own_hosts=own_hosts(), auth_prefix=settings.AUTHGATE_AUTH_PREFIX, pace=pace)


def compile_rows() -> PolicyDocument:
    """The document of the rows as they are in this transaction. Raises PolicyInvalid if one does not fit the schema."""
    return from_plain(
        {
            "version": 1,
            "upstreams": {row["name"]: _upstream(row) for row in Upstream.objects.order_by("pk").values()},
            "roles": {
                row["name"]: {"description": row["description"], "admin": row["admin"]}
                for row in Role.objects.order_by("pk").values()
            },
            "grants": [grant_of_row(row) for row in RoleGrant.objects.order_by("pk").select_related("role")],
            "rate_limits": {
                row["name"]: {"rate": row["rate"], "burst": row["burst"], "per": row["per"]}
                for row in RateLimit.objects.order_by("pk").values()
            },
            "routes": _routes(),
        }
    )


def _upstream(row: Mapping[str, Any]) -> dict[str, Any]:
    parts = (("health", HEALTH_COLUMNS), ("tls", TLS_COLUMNS))
    return {
        **{column: row[column] for column in UPSTREAM_COLUMNS},
        **{part: {name: row[column] for name, column in columns.items()} for part, columns in parts},
        "timeouts": _timeouts(row),
    }


def _routes() -> list[dict[str, Any]]:
    roles_of: defaultdict[int, list[str]] = defaultdict(list)
    through = Route.roles.through.objects.order_by("pk")
    for route_id, role in through.values_list("route_id", "role__name"):
        roles_of[route_id].append(role)
    rows = Route.objects.order_by("pk").values(
        "pk", "upstream__name", "rate_limit__name", *ROUTE_COLUMNS, *ROUTE_TIMEOUT_COLUMNS.values()
    )
    return [
        {column: row[column] for column in ROUTE_COLUMNS}
        | {
            "upstream": row["upstream__name"] or "",
            "rate_limit": row["rate_limit__name"] or "",
            "roles": roles_of[row["pk"]],
            "timeouts": _timeouts(row, ROUTE_TIMEOUT_COLUMNS),
        }
        for row in rows
    ]


def _timeouts(row: Mapping[str, Any], columns: Mapping[str, str] = TIMEOUT_COLUMNS) -> dict[str, float | None]:
    return {name: row[column] for name, column in columns.items()}


def grant_of_row(row: RoleGrant) -> dict[str, Any]:
    if row.operator == RoleGrant.Operator.AUTHENTICATED:
        when: dict[str, Any] = {"authenticated": True}
    else:
        when = {"claim": row.claim, str(row.operator): row.value}
    when["provider"] = row.provider
    return {"role": row.role.name, "when": when}
