"""From what a provider said, once it is proven, to who somebody is here, and whether they may come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authgate.authn.claims import is_safe_text
from authgate.models.people import IdentityProvider
from authgate.oidc.id_token import is_subject
from authgate.oidc.log_words import listed
from authgate.oidc.seen import describe_claims, describe_flag, find_oddities
from authgate.outbound.errors import ProviderError
from authgate.wire.claim_path import claim_at

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
        came = describe_claims(_sources(provider, id_claims, userinfo))
        raise ProviderError("userinfo_failed", f"the provider gave no usable subject; {came}")
    email, is_verified = _find_email(provider, id_claims, userinfo)
    if refusal := _refusal(provider, email, is_verified):
        raise ProviderError("not_allowed", f"{refusal}; {_came(provider, id_claims, userinfo)}")
    name = mapped(provider, "name", claims)
    groups = mapped(provider, "groups", claims)
    claims.pop("groups", None)  # where a mapping points elsewhere, what stands here is not meant
    claims |= {"email": email, "email_verified": is_verified}
    claims |= {"name": name if is_safe_text(name) else ""}
    if groups is not None:
        claims["groups"] = groups
    return ProvenPerson(subject, email, claims["name"], claims)


def find_odd_claims(provider: IdentityProvider, id_claims: Mapping[str, Any], userinfo: Mapping[str, Any]) -> list[str]:
    """For the operator: why grants may miss somebody who was let in."""
    claims = {**userinfo, **id_claims}
    where = str(provider.claim_mapping.get("groups") or "groups")
    return list(find_oddities(where, claims, mapped(provider, "groups", claims)))


def is_still_allowed(provider: IdentityProvider, claims: Mapping[str, Any]) -> bool:
    """Whether `claims` of a ProvenPerson would still do: the provider's rules may be stricter than they were."""
    email = claims.get("email")
    return not _refusal(provider, email if isinstance(email, str) else "", claims.get("email_verified") is True)


def _refusal(provider: IdentityProvider, email: str, is_verified: bool) -> str:
    """With the rule's name in the form, for who wants to change it."""
    if provider.require_verified_email and not (email and is_verified):
        what = "nothing vouches for the e-mail address" if email else "no usable e-mail address came"
        return f'the rule "only with a verified e-mail address" refuses: {what}'
    domains = {_domain_text(domain) for domain in provider.allowed_domains}
    if domains and _domain(email) not in domains:
        what = "the e-mail address is in none of them" if email else "no usable e-mail address came"
        return f'the rule "allowed e-mail domains" refuses: {what}'
    return ""


def _came(provider: IdentityProvider, id_claims: Mapping[str, Any], userinfo: Mapping[str, Any]) -> str:
    sources = _sources(provider, id_claims, userinfo)
    mapped_from = provider.claim_mapping.get("email")
    mapping = f"e-mail is mapped to {listed([mapped_from])}; " if mapped_from else ""
    return f"{mapping}{describe_flag('email_verified', sources)}; {describe_claims(sources)}"


def _sources(
    provider: IdentityProvider, id_claims: Mapping[str, Any], userinfo: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any]]]:
    return [*([("the ID token", id_claims)] if provider.has_id_token else []), ("userinfo", userinfo)]


def _find_email(
    provider: IdentityProvider, id_claims: Mapping[str, Any], userinfo: Mapping[str, Any]
) -> tuple[str, bool]:
    """The address, and whether it is verified. The ID token and userinfo each vouch only for their own address."""
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
    """Where the provider writes it."""
    return claim_at(claims, str(provider.claim_mapping.get(name) or name))
