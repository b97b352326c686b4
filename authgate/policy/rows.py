"""Changes the rows that operators edit to those of a document. Entries that stay keep their row, and so its id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from django.db import models

from authgate.models.policy import RateLimit, Role, RoleGrant, Route, Upstream
from authgate.policy.compiler import (
    HEALTH_COLUMNS,
    ROUTE_COLUMNS,
    ROUTE_TIMEOUT_COLUMNS,
    TIMEOUT_COLUMNS,
    TLS_COLUMNS,
    UPSTREAM_COLUMNS,
    grant_of_row,
)
from authgate.policy.document import Grant, PolicyDocument, Timeouts, When
from authgate.policy.document import Upstream as UpstreamEntry

M = TypeVar("M", bound=models.Model)
Columns = Mapping[str, Any]
_AT_ONCE = 500


def apply_document(document: PolicyDocument) -> None:
    """Sets the rows to a valid document, in the caller's transaction.

    Rows are matched by name, grants by their content; new rows come last. So links, open pages and the history of
    entries that stay remain valid.
    """
    upstreams = _sync(
        Upstream,
        {name: _upstream_columns(item) for name, item in document.upstreams.items()},
    )
    limits = _sync(
        RateLimit,
        {
            name: {"rate": item.rate, "burst": item.burst, "per": item.per}
            for name, item in document.rate_limits.items()
        },
    )
    roles = _sync(Role, {
        name: {"description": item.description, "admin": item.admin} for name, item in document.roles.items()
    })  # fmt: skip
    _sync_routes(document, upstreams, limits, roles)
    _sync_grants(document.grants, roles)
    # Deleted last, when nothing refers to them any more.
    for model, kept in ((Upstream, upstreams), (RateLimit, limits), (Role, roles)):
        _delete_all_but(model, kept)


def _sync_routes(
    document: PolicyDocument, upstreams: Mapping[str, int], limits: Mapping[str, int], roles: Mapping[str, int]
) -> None:
    routes = _sync(Route, {
        route.name: {
            **_as_stored({column: getattr(route, column) for column in ROUTE_COLUMNS if column != "name"}),
            "upstream_id": upstreams.get(route.upstream),
            "rate_limit_id": limits.get(route.rate_limit),
            **_timeout_columns(route.timeouts, ROUTE_TIMEOUT_COLUMNS),
        }
        for route in document.routes
    })  # fmt: skip
    _delete_all_but(Route, routes)
    through = Route.roles.through
    wanted = {(routes[route.name], roles[role]): None for route in document.routes for role in route.roles}
    there = {(row.route_id, row.role_id): row.pk for row in through.objects.all()}
    _delete(through, [pk for pair, pk in there.items() if pair not in wanted])
    through.objects.bulk_create(
        [through(route_id=route, role_id=role) for route, role in wanted if (route, role) not in there], _AT_ONCE
    )


def _as_stored(columns: Columns) -> Columns:
    """With maps and lists, as columns of JSON hold structs and tuples."""
    stored: Columns = msgspec.json.decode(msgspec.json.encode(columns))
    return stored


def _sync_grants(grants: Iterable[Grant], roles: Mapping[str, int]) -> None:
    wanted = {_said(grant): grant for grant in grants}
    there: set[bytes] = set()
    gone = []
    for row in RoleGrant.objects.select_related("role"):
        said = _said_by(row)
        if said in wanted and said not in there:
            there.add(said)
        else:
            gone.append(row.pk)
    _delete(RoleGrant, gone)
    RoleGrant.objects.bulk_create(
        [
            RoleGrant(role_id=roles[grant.role], **_grant_columns(grant.when))
            for said, grant in wanted.items()
            if said not in there
        ],
        _AT_ONCE,
    )


def _said(grant: Grant) -> bytes:
    # Compared as text: in Python a grant for true equals one for 1.
    return msgspec.json.encode(grant)


def _said_by(row: RoleGrant) -> bytes:
    """The text of a row's grant. Empty for a row that no policy can contain."""
    try:
        return _said(msgspec.convert(grant_of_row(row), Grant))
    except msgspec.ValidationError:
        return b""


def _sync(model: type[M], wanted: Mapping[str, Columns]) -> dict[str, int]:
    """Sets these columns, and returns the key of each name's row. Rows of other names stay."""
    there = {row.name: row for row in model._default_manager.all()}  # type: ignore[attr-defined]
    new = [model(name=name, **columns) for name, columns in wanted.items() if name not in there]
    changed = [there[name] for name, columns in wanted.items() if name in there and _take(there[name], columns)]
    if changed:
        fields = [name.removesuffix("_id") for name in next(iter(wanted.values()))]
        model._default_manager.bulk_update(changed, fields, _AT_ONCE)
    there |= {row.name: row for row in model._default_manager.bulk_create(new, _AT_ONCE)}  # type: ignore[attr-defined]
    return {name: there[name].pk for name in wanted}


def _take(row: models.Model, columns: Columns) -> bool:
    """Sets these columns. Returns whether that changed anything."""
    changed = [name for name, value in columns.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, columns[name])
    return bool(changed)


def _delete_all_but(model: type[M], kept: Mapping[str, int]) -> None:
    rows = model._default_manager.values_list("pk", "name")
    _delete(model, [pk for pk, name in rows if name not in kept])


def _delete(model: type[M], pks: list[int]) -> None:
    for start in range(0, len(pks), _AT_ONCE):
        model._default_manager.filter(pk__in=pks[start : start + _AT_ONCE]).delete()


def _upstream_columns(upstream: UpstreamEntry) -> dict[str, Any]:
    return {
        **{column: getattr(upstream, column) for column in UPSTREAM_COLUMNS},
        "targets": list(upstream.targets),
        **{column: getattr(upstream.health, name) for name, column in HEALTH_COLUMNS.items()},
        "health_status": list(upstream.health.status),
        **{column: getattr(upstream.tls, name) for name, column in TLS_COLUMNS.items()},
        **_timeout_columns(upstream.timeouts),
    }


def _timeout_columns(timeouts: Timeouts, columns: Mapping[str, str] = TIMEOUT_COLUMNS) -> dict[str, float | None]:
    return {column: getattr(timeouts, name) for name, column in columns.items()}


def _grant_columns(when: When) -> dict[str, Any]:
    columns: dict[str, Any] = {"provider": when.provider, "claim": when.claim}
    if when.authenticated:
        return columns | {"operator": RoleGrant.Operator.AUTHENTICATED}
    if when.contains is not None:
        return columns | {"operator": RoleGrant.Operator.CONTAINS, "value": when.contains}
    return columns | {"operator": RoleGrant.Operator.EQUALS, "value": when.equals}
