"""The rules of access: roles from claims, and a route's access for an identity. Nothing here has side effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from authgate.policy.errors import PolicyError
from authgate.policy.schema import Grant, Route, When
from authgate.policy.table import RouteEntry
from authgate.reason import Reason
from authgate.request import OWN_ISSUER, Identity, TokenTerms

# RFC 6749 3.3: one string of words. Every other string claim is one value, never searched.
_WORD_CLAIMS = frozenset(("scope", "scp"))

_ROLE = Reason.ROLE  # the look-up in the class costs more than a comparison
_FOR_SOMEBODY = (Reason.AUTHENTICATED, Reason.ROLE)


class GrantRules:
    """The grants of a policy, ready to be applied to the claims of a verified identity."""

    def __init__(self, grants: Iterable[Grant], errors: Iterable[PolicyError] = ()) -> None:
        """Skips grants with errors: half a condition would hold for more people than the whole one."""
        faulty = {error.place[1] for error in errors if error.place[:1] == ("grants",) and len(error.place) > 1}
        grants = tuple(grant for index, grant in enumerate(grants) if index not in faulty)
        self._everybody = [grant for grant in grants if grant.when.authenticated]
        self._by_claim: dict[str, list[Grant]] = {}
        for grant in grants:
            if not grant.when.authenticated:
                self._by_claim.setdefault(grant.when.claim, []).append(grant)

    def roles_of(self, claims: Mapping[str, Any], provider: str = "") -> frozenset[str]:
        """The roles that follow from verified claims; the caller counts as authenticated.

        `provider`: slug of the provider of the sign-in; empty without one, as with a bearer token.
        """
        roles = [grant.role for grant in self._everybody if _is_about(grant, provider)]
        for claim, grants in self._by_claim.items():
            if claim in claims:
                value = claims[claim]
                roles += [grant.role for grant in grants if _is_about(grant, provider) and _holds(grant.when, value)]
        return frozenset(roles)

    def asked_of(self, claims: Mapping[str, Any], provider: str = "") -> dict[str, Any]:
        """The few of many claims that give the same roles: only values that some grant names."""
        asked = {
            claim: _asked([grant for grant in grants if _is_about(grant, provider)], claim, claims[claim])
            for claim, grants in self._by_claim.items()
            if claim in claims
        }
        return {claim: value for claim, value in asked.items() if value != []}


def roles_by(
    grants: GrantRules, claims: Mapping[str, Any], provider: str, own: frozenset[str], terms: TokenTerms | None = None
) -> frozenset[str]:
    """All roles of a caller. `own`: those that the credential brings, of which a personal token's only limit."""
    granted = grants.roles_of(claims, provider)
    return own & granted if terms is not None and terms.kind == "personal_token" else own | granted


def evaluate_access(entry: RouteEntry, identity: Identity | None) -> Reason:
    """The reason for the decision: PUBLIC, AUTHENTICATED and ROLE let the caller in, every other one refuses."""
    reason = entry.reason
    if identity is None:
        return Reason.NO_CREDENTIAL if reason in _FOR_SOMEBODY else reason
    if entry.asks_of_token and reason in _FOR_SOMEBODY and (refusal := _token_refusal(entry.route, identity)):
        return refusal
    if reason is _ROLE and entry.roles.isdisjoint(identity.roles):
        return Reason.MISSING_ROLE
    return reason


def _token_refusal(route: Route, identity: Identity) -> Reason | None:
    """What a route asks of a token. A session is the gateway's own, and has no scopes."""
    if route.issuers and identity.issuer_slug not in route.issuers:
        return Reason.ISSUER_NOT_TAKEN
    if route.audience and route.audience not in identity.audiences:
        # Signing in again would heal nothing: the gateway's own credentials are for the gateway.
        return Reason.ISSUER_NOT_TAKEN if identity.issuer_slug == OWN_ISSUER else Reason.WRONG_AUDIENCE
    return None if identity.scopes.issuperset(route.scopes) else Reason.INSUFFICIENT_SCOPE


def _is_about(grant: Grant, provider: str) -> bool:
    return not grant.when.provider or grant.when.provider == provider


def _holds(when: When, value: Any) -> bool:
    if when.contains is not None:
        return any(_same(item, when.contains) for item in _items(when.claim, value))
    return when.equals is not None and _same(value, when.equals)


def _asked(grants: list[Grant], claim: str, value: Any) -> Any:
    if any(grant.when.equals is not None and _same(value, grant.when.equals) for grant in grants):
        return value
    # Looked up by what _same compares: thousands of groups meet as many grants.
    items = {(type(item), item) for item in _items(claim, value) if isinstance(item, (str, int))}
    return [wanted for wanted in _wanted(grants) if (type(wanted), wanted) in items]


def _wanted(grants: list[Grant]) -> list[str | int]:
    return [
        *{(type(wanted), wanted): wanted for grant in grants if (wanted := grant.when.contains) is not None}.values()
    ]


def _items(claim: str, value: Any) -> Iterable[Any]:
    """A lone value counts as a list of one: identity providers collapse single-entry lists."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, str) and claim in _WORD_CLAIMS:
        return value.split(" ")
    return (value,)


def _same(value: Any, wanted: str | int | bool) -> bool:
    # In Python True == 1; in a policy they are two different things.
    return type(value) is type(wanted) and bool(value == wanted)
