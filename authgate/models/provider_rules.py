"""What an operator may enter for a provider. Admin and command refuse the same, each beside what caused it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from cryptography.x509 import load_pem_x509_certificates

from authgate.wire.authority import is_loopback

OAUTH2 = "oauth2"  # of the kinds the one without discovery
# What must be given without discovery.
OAUTH2_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
ENDPOINTS = (*OAUTH2_ENDPOINTS, "jwks_uri", "end_session_endpoint")
MAPPED = ("email", "name", "groups")
WELL_KNOWN = "/.well-known/openid-configuration"
_URL = re.compile(r"https?://[!-~]+")
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 3.3
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,400}")

# What a sign-in rests on: one that was proven by other values of these does not count.
_PROVING = (
    "slug",
    "kind",
    "issuer",
    *ENDPOINTS,
    "client_id",
    "further_audiences",
    "claim_mapping",
    "allowed_domains",
    "require_verified_email",
)
_KNOWN = (
    "cannot change once people are known by this provider, as it decides who they are: add another provider instead"
)
_EMAIL_COUNTS = "cannot change while grants of the policy ask for an e-mail address of this provider: remove them first"
# Clouds of Microsoft, and the addresses there that sign in people of any tenant.
_ENTRA = frozenset(
    ("login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "sts.windows.net")
)
_TENANTS_OF_ALL = frozenset(("common", "organizations", "consumers"))
_EVERY_TENANT = (
    "must name your tenant's ID: common, organizations and consumers sign in people of every tenant, and are the "
    "issuer of no ID token"
)
# Ours alone: an address that brings one of these along would ask for something else (RFC 6749 3.1: none twice).
_OWN_PARAMETERS = frozenset(
    (
        "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
        "code_challenge", "code_challenge_method",
    )
)  # fmt: skip


class Entered(Protocol):
    """A provider as somebody entered it: nothing of it is known to have the right form, or even type."""

    @property
    def slug(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def has_id_token(self) -> bool: ...
    @property
    def issuer(self) -> str: ...
    @property
    def poll_endpoint(self) -> str: ...
    @property
    def client_id(self) -> str: ...
    @property
    def further_audiences(self) -> Any: ...
    @property
    def scopes(self) -> Any: ...
    @property
    def claim_mapping(self) -> Any: ...
    @property
    def allowed_domains(self) -> Any: ...
    @property
    def require_verified_email(self) -> bool: ...
    @property
    def ca_certificates(self) -> str: ...
    @property
    def session_idle(self) -> int: ...
    @property
    def session_lifetime(self) -> int: ...


Problems = Iterator[tuple[str, str]]  # field of Entered, message


def find_problems(provider: Entered) -> Problems:
    yield from _check_urls(provider)
    if not _TEXT.fullmatch(provider.client_id):
        yield "client_id", "must have 1 to 400 characters and no control characters"
    yield from _check_audiences(provider)
    yield from _check_scopes(provider)
    yield from _check_mapping(provider)
    yield from _check_domains(provider.allowed_domains)
    if provider.ca_certificates and (problem := pem_problem(provider.ca_certificates)):
        yield "ca_certificates", problem
    if (provider.session_idle or 0) > (provider.session_lifetime or 0):
        yield "session_idle", "must not be longer than the longest session"


def proving(provider: Entered) -> tuple[object, ...]:
    """Equal for as long as a sign-in would be proven in the same way."""
    return tuple(getattr(provider, name) for name in _PROVING)


def find_changed_subjects(before: Entered, after: Entered) -> Problems:
    """For a provider that people are known by. The same subject elsewhere may be somebody else, who would become them.

    The ID token of OpenID Connect names its issuer, wherever it and the keys come from; otherwise the endpoints say
    who somebody is.
    """
    endpoints = () if after.has_id_token else OAUTH2_ENDPOINTS
    for name in ("slug", "kind", "issuer", *endpoints):
        if getattr(before, name) != getattr(after, name):
            yield name, _KNOWN
    if _where(before, "sub") != _where(after, "sub"):
        yield "claim_mapping", f"sub {_KNOWN}"


def find_changed_addresses(before: Entered, after: Entered) -> Problems:
    """For a provider that people are known by, and whose e-mail addresses give roles."""
    if _where(before, "email") != _where(after, "email"):
        yield "claim_mapping", f"email {_EMAIL_COUNTS}"
    if before.require_verified_email and not after.require_verified_email:
        yield "require_verified_email", _EMAIL_COUNTS


def _where(provider: Entered, name: str) -> str:
    mapping: object = provider.claim_mapping
    return str(mapping.get(name) or name) if isinstance(mapping, dict) else name


def _check_urls(provider: Entered) -> Problems:
    if provider.has_id_token and not provider.issuer:
        yield "issuer", "is needed for OpenID Connect"
    for name in OAUTH2_ENDPOINTS if provider.kind == OAUTH2 else ():
        if not getattr(provider, name):
            yield name, "is needed for OAuth 2.0, which has no discovery"
    if provider.poll_endpoint and not provider.has_id_token:
        yield "poll_endpoint", "is for OpenID Connect, whose providers sign their events"
    for name in ("issuer", *ENDPOINTS, "poll_endpoint"):
        url = getattr(provider, name)
        if url and (problem := url_problem(url)):
            yield name, problem
        elif name == "authorization_endpoint" and (taken := own_parameters(url)):
            yield name, f"must not have {', '.join(taken)} in its query: the gateway adds that itself"
    if provider.issuer.rstrip("/").endswith(WELL_KNOWN):
        yield "issuer", f"must be the issuer itself, without {WELL_KNOWN}/"
    elif "?" in provider.issuer:
        yield "issuer", "must have no query"
    if _is_for_every_tenant(provider.issuer):
        yield "issuer", _EVERY_TENANT


def _is_for_every_tenant(issuer: str) -> bool:
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return False
    return parts.hostname in _ENTRA and parts.path.lower().strip("/").split("/")[0] in _TENANTS_OF_ALL


def url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if "{" in url or "}" in url:
        return "still has a {placeholder} to replace"
    if not _URL.fullmatch(url) or "\\" in url or not host:
        return "must be an absolute https URL"
    if "@" in parts.netloc or "#" in url:
        return "must have neither a user name nor a fragment"
    return _host_problem(parts.scheme, host)


def own_parameters(authorization_endpoint: str) -> list[str]:
    """Those of the gateway's own that its query brings along; it may have any others."""
    names = {name for name, _ in parse_qsl(urlsplit(authorization_endpoint).query, keep_blank_values=True)}
    return sorted(names & _OWN_PARAMETERS)


def _host_problem(scheme: str, host: str) -> str | None:
    if _is_link_local(host):
        return "is link-local (cloud metadata), where no provider is"
    if scheme != "https" and not is_loopback(host):
        return "must be https; plain http is for loopback hosts only"
    return None


def _is_link_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_link_local


def _check_audiences(provider: Entered) -> Problems:
    audiences = provider.further_audiences
    if not _are_texts(audiences):
        yield "further_audiences", "must be a list of strings"
        return
    for audience in audiences:
        if not _TEXT.fullmatch(audience) or not audience.strip():
            yield "further_audiences", "each must have 1 to 400 characters and no control characters"
    if provider.client_id in audiences:
        yield "further_audiences", "must not name the client ID, which every ID token is for"


def _check_scopes(provider: Entered) -> Problems:
    scopes = provider.scopes
    if not _are_texts(scopes):
        yield "scopes", "must be a list of words"
        return
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            yield "scopes", f"{scope!r} is not a scope"
    if len(set(scopes)) != len(scopes):
        yield "scopes", "one is named twice"
    if provider.has_id_token and "openid" not in scopes:
        yield "scopes", "must contain openid: without it no ID token comes"


def _check_mapping(provider: Entered) -> Problems:
    mapping: object = provider.claim_mapping
    if not isinstance(mapping, dict):
        yield "claim_mapping", "must be a map"
        return
    # OpenID Connect's subject is the one that the ID token is about, whatever else it says.
    names = ("sub", *MAPPED) if provider.kind == OAUTH2 else MAPPED
    for name, claim in mapping.items():
        if name not in names:
            yield "claim_mapping", f"{name!r} is not one of {', '.join(names)}"
        elif not isinstance(claim, str) or not _TEXT.fullmatch(claim) or not claim.strip():
            yield "claim_mapping", f"{name} must be the name of a claim"


def _check_domains(domains: object) -> Problems:
    if not _are_texts(domains):
        yield "allowed_domains", "must be a list of domains"
        return
    for domain in domains:  # type: ignore[attr-defined]
        if not _DOMAIN.fullmatch(domain):
            yield "allowed_domains", f"{domain!r} is not a domain such as example.com, in lower case"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def pem_problem(text: str) -> str | None:
    try:
        load_pem_x509_certificates(text.encode("utf-8"))
    except ValueError:
        return "must be PEM certificates (-----BEGIN CERTIFICATE-----)"
    return "must have no NUL, which no database can hold" if "\x00" in text else None
