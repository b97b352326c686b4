"""What clients of MCP servers have to know to ask for a token: the metadata of a protected resource (RFC 9728)."""

from __future__ import annotations

from django.conf import settings

from authgate.authn.jwk import ALGORITHMS
from authgate.policy.table import RouteEntry
from authgate.reason import LETTING_IN, Reason
from authgate.request import RequestFacts
from authgate.state.snapshot import Snapshot
from authgate.wire.target import is_below

METADATA_PATH = "/.well-known/oauth-protected-resource"


def find_resource(facts: RequestFacts, snapshot: Snapshot | None) -> RouteEntry | None:
    """The route that a metadata address speaks of. Without a path behind it: the only one that there is."""
    if snapshot is None or not snapshot.table.has_mcp or not is_below(facts.path, METADATA_PATH):
        return None
    path = facts.path.removeprefix(METADATA_PATH)
    if path:
        return _described_at(path, facts, snapshot)
    found = [entry for entry in snapshot.table.entries if entry is _described_at(entry.route.path, facts, snapshot)]
    found = [entry for entry in found if entry.route.host] or found  # of this host, else those of any
    return found[0] if len(found) == 1 else _described_at("/", facts, snapshot)


def describe(entry: RouteEntry, facts: RequestFacts, snapshot: Snapshot) -> dict[str, object]:
    route = entry.route
    issuers = [
        issuer for issuer in snapshot.trust.issuers.values() if not route.issuers or issuer.slug in route.issuers
    ]
    description = {
        "resource": f"{_origin(entry, facts)}{route.path}",
        "authorization_servers": [issuer.issuer for issuer in issuers],
        "scopes_supported": list(route.scopes),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": sorted(ALGORITHMS) if any(one.dpop != "off" for one in issuers) else [],
        "dpop_bound_access_tokens_required": bool(issuers) and all(one.needs_dpop for one in issuers),
    }
    return {name: value for name, value in description.items() if value}


def metadata_url(entry: RouteEntry, facts: RequestFacts | None) -> str:
    """Empty for what is no MCP server, or needs no credential."""
    if entry.mcp is None or facts is None or not _is_described(entry):
        return ""
    path = entry.route.path if entry.route.path != "/" else ""
    return f"{_origin(entry, facts)}{METADATA_PATH}{path}"


def _described_at(path: str, facts: RequestFacts, snapshot: Snapshot) -> RouteEntry | None:
    entry = snapshot.table.match(facts.authority.host, path, "POST")
    return entry if entry is not None and entry.mcp is not None and _is_described(entry) else None


def _is_described(entry: RouteEntry) -> bool:
    """Whether a credential may open it."""
    return entry.reason in LETTING_IN and entry.reason is not Reason.PUBLIC


def _origin(entry: RouteEntry, facts: RequestFacts) -> str:
    # A route for any host may be asked for under any: such a Host is nobody's name for it.
    if entry.route.host:
        return f"{facts.scheme}://{facts.authority}"
    public: str = settings.AUTHGATE_PUBLIC_URL
    return public.rstrip("/")
