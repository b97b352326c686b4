"""From what a provider said, once it is proven, to who somebody is here, and whether they may come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authgate.authn.claims import is_safe_text
from authgate.models import IdentityProvider
from authgate.oidc.errors import ProviderError
from authgate.oidc.id_token import is_subject

# References to claims elsewhere are never followed (they name any address), and hashes are of use to nobody.
_DROPPED = frozenset(["_claim_names", "_claim_sources", "at_hash", "c_hash", "s_hash"])


@dataclass(frozen=True, slots=True)
class ProvenPerson:
    subject: str
    email: str
    name: str
    claims: dict[str, Any]


def person_claims(
    provider: IdentityProvider, id_claims: Mapping[str, Any], userinfo: Mapping[str, Any]
) -> ProvenPerson:
    """`claims` has "email", "email_verified", "name" and "groups" under these names.

    Raises ProviderError("not_allowed").
    """
    claims = {name: value for name, value in {**userinfo, **id_claims}.items() if name not in _DROPPED}
    subject = claims.get("sub")
    if not isinstance(subject, str) or not is_subject(subject):
        raise ProviderError("userinfo_failed", "the provider gave no usable subject")
    email, is_verified = _find_email(provider, id_claims, userinfo)
    if refusal := _refusal(provider, email, is_verified):
        raise ProviderError("not_allowed", refusal)
    name = mapped(provider, "name", claims)
    groups = mapped(provider, "groups", claims)
    claims.pop("groups", None)  # where a mapping points elsewhere, what stands here is not meant
    claims |= {"email": email, "email_verified": is_verified}
    claims |= {"name": name if isinstance(name, str) and is_safe_text(name) else ""}
    if groups is not None:
        claims["groups"] = groups
    return ProvenPerson(subject, email, claims["name"], claims)


def is_still_allowed(provider: IdentityProvider, claims: Mapping[str, Any]) -> bool:
    """Whether `claims` of a ProvenPerson would still do: the provider's rules may be stricter than they were."""
    email = claims.get("email")
    return not _refusal(provider, email if isinstance(email, str) else "", claims.get("email_verified") is True)


def _refusal(provider: IdentityProvider, email: str, is_verified: bool) -> str:
    if provider.require_verified_email and not (email and is_verified):
        return "the provider vouches for no e-mail address of this person"
    domains = {_domain_text(domain) for domain in provider.allowed_domains}
    if domains and _domain(email) not in domains:
        return "the e-mail address is in none of the allowed domains"
    return ""


def _find_email(
    provider: IdentityProvider, id_claims: Mapping[str, Any], userinfo: Mapping[str, Any]
) -> tuple[str, bool]:
    """The address, and whether the very source that names it vouches for it: not one's word for the other's address."""
    named = [(mapped(provider, "email", source), _vouches(provider, source)) for source in (id_claims, userinfo)]
    usable = [(email, verified) for email, verified in named if isinstance(email, str) and _is_address(email)]
    if not usable:
        return "", False
    address = usable[0][0]
    return address, any(verified for email, verified in usable if email == address)


def _vouches(provider: IdentityProvider, source: Mapping[str, Any]) -> bool:
    """`email_verified` speaks of `email` (Core 5.1), not of another claim that an address is taken from."""
    return source.get("email_verified") is True and source.get("email") == mapped(provider, "email", source)


def _is_address(email: str) -> bool:
    local, _, domain = email.rpartition("@")
    # One "@" and no blanks: whoever reads it next must find the same domain.
    return is_safe_text(email) and bool(local and domain) and "@" not in local and not any(c.isspace() for c in email)


def _domain(email: str) -> str:
    domain = email.rpartition("@")[2]
    # Folding case makes "ss" of "ß", which is another domain (IDNA 2008); those that are allowed are ASCII.
    return domain.lower() if domain.isascii() else "\x00other"


def _domain_text(domain: object) -> str:
    return domain.strip().removeprefix("@").casefold() if isinstance(domain, str) and domain.strip() else "\x00none"


def mapped(provider: IdentityProvider, name: str, claims: Mapping[str, Any]) -> Any:
    """Under the mapped name as it stands, as that may hold dots ("https://…"), or along a path ("a.b")."""
    where = provider.claim_mapping.get(name) or name
    if where in claims:
        return claims[where]
    value: Any = claims
    for step in str(where).split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value
