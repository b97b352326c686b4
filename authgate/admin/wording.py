"""Faults of the policy in the words of the admin's forms. Which they are is decided by the one validator."""

from __future__ import annotations

from authgate.models.policy import RoleGrant
from authgate.policy.errors import PolicyError

# Those that speak of keys of the policy file, by how they begin.
_WORDS = {
    "needs authenticated: true, or claim": "Choose “is signed in”, or name a claim and the value for it.",
    "either authenticated: true or a claim": "Either “is signed in” or a claim, not both.",
    "the same as grants[": "There is such a grant already.",
    "access roles needs at least one role": "Choose at least one role, or another access.",
    "roles have no effect with access": "Roles have no effect with this access: choose none, or the access “roles”.",
    "has an effect only with mcp: true": "Has an effect only on an MCP server: tick “MCP server”.",
    "for Authorization there is pass_authorization": "For Authorization there is the field “Pass authorization”.",
}
_NOUNS = {
    "upstreams": "upstream", "roles": "role", "grants": "role grant", "rate_limits": "rate limit", "routes": "route",
}  # fmt: skip


def in_words(message: str) -> str:
    return next((words for beginning, words in _WORDS.items() if message.startswith(beginning)), message)


def sentence(fault: PolicyError) -> str:
    """With the name of what is at fault, which is on another page."""
    section, *rest = fault.place or ("",)
    noun = _NOUNS.get(str(section))
    if noun is None or not rest:
        return in_words(fault.message)
    name = _grant_at(rest[0]) if isinstance(rest[0], int) and section == "grants" else str(rest[0])
    field = " ".join(str(part).replace("_", " ") for part in rest[1:])
    line = f"{noun} {name}{', ' + field if field else ''}: {in_words(fault.message)}"
    return PolicyError((), line).__str__()


def _grant_at(index: int) -> str:
    """As the policy numbers them."""
    grant = RoleGrant.objects.select_related("role").order_by("pk")[index : index + 1].first()
    return f"“{grant}”" if grant else f"number {index + 1}"
