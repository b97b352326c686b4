"""What a provider said of somebody, told to the operator: names of claims, and flags; nothing personal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from authgate.oidc.log_words import listed

Source = tuple[str, Mapping[str, Any]]  # "the ID token" or "userinfo", and its claims
_FLAG_TEXTS = frozenset(("true", "false", "yes", "no", "1", "0", ""))


def describe_claims(sources: list[Source]) -> str:
    return "; ".join(f"claims of {where}: {listed(sorted(claims))}" for where, claims in sources)


def describe_flag(name: str, sources: list[Source]) -> str:
    return f"{name} is {' and '.join(f'{_flag(name, claims)} in {where}' for where, claims in sources)}"


def _flag(name: str, claims: Mapping[str, Any]) -> str:
    value = claims.get(name, ...)
    if value is ...:
        return "missing"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # A text may be anything, so only what can be nothing but a flag is repeated.
    shown = isinstance(value, str) and value.lower() in _FLAG_TEXTS
    return f'the text "{value}", which is no boolean,' if shown else "no boolean"


def find_oddities(groups_claim: str, claims: Mapping[str, Any], groups: object) -> Iterator[str]:
    """What makes grants miss somebody although the provider knows their groups. `groups`: as they were found."""
    elsewhere = claims.get("_claim_names")
    withheld = isinstance(elsewhere, Mapping) and groups_claim in elsewhere
    if withheld or claims.get("hasgroups") in (True, "true"):
        sign = "_claim_names" if withheld else "hasgroups"
        yield f"the provider withheld the groups, too many for a token ({sign}): have it send fewer, or app roles"
    if isinstance(groups, list) and any(isinstance(group, str) and group.startswith("/") for group in groups):
        yield 'the groups begin with "/", as full paths do: grants must name them so, or the provider omit the path'
