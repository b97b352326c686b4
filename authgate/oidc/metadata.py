"""What a provider says about itself (OpenID Connect Discovery, RFC 8414), or what the operator wrote instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authgate.models.people import IdentityProvider
from authgate.models.provider_rules import ENDPOINTS, OAUTH2_ENDPOINTS, WELL_KNOWN, own_parameters, url_problem
from authgate.outbound.cache import Fetched
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import check_url, get_object
from authgate.wire.authority import leads_to_loopback

TTL = 3600.0
GITHUB_ISSUER = "https://github.com/login/oauth"
_GITHUB = {
    "authorization_endpoint": "https://github.com/login/oauth/authorize",
    "token_endpoint": "https://github.com/login/oauth/access_token",
    "userinfo_endpoint": "https://api.github.com/user",
}
_OIDC_REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class Metadata:
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    end_session_endpoint: str
    algorithms: frozenset[str]
    token_auth_methods: frozenset[str]
    claims: frozenset[str]  # that it announces, if it announces any; it may send others
    sends_issuer: bool  # RFC 9207: every authorization response carries `iss`


_discovered: Fetched[Metadata] = Fetched(TTL)


def load_metadata(provider: IdentityProvider) -> Metadata:
    """Cached in this process. Raises ProviderError("provider_unavailable")."""
    if not provider.has_id_token:
        return read_metadata(provider, _GITHUB if provider.kind == IdentityProvider.Kind.GITHUB else {})
    return _discovered.get(identity_of(provider), lambda: fetch_metadata(provider))


def cached_metadata(provider: IdentityProvider) -> Metadata | None:
    """Of an OpenID provider. None: it would have to be discovered."""
    return _discovered.kept(identity_of(provider))


def fetch_metadata(provider: IdentityProvider) -> Metadata:
    return read_metadata(provider, _discover(provider) if needs_discovery(provider) else {})


def identity_of(provider: IdentityProvider) -> tuple[str, ...]:
    """All that an answer depends on, so that an edit takes effect at once."""
    endpoints = (getattr(provider, name) for name in ENDPOINTS)
    return (provider.slug, provider.kind, provider.issuer, provider.ca_certificates, *endpoints)


def needs_discovery(provider: IdentityProvider) -> bool:
    return provider.has_id_token and not all(getattr(provider, name) for name in _required(provider))


def discovery_url(provider: IdentityProvider) -> str:
    return f"{provider.issuer.rstrip('/')}{WELL_KNOWN}"


def read_metadata(provider: IdentityProvider, document: Mapping[str, Any]) -> Metadata:
    endpoints = {name: getattr(provider, name) or _endpoint(document, name) for name in ENDPOINTS}
    for name in _required(provider):
        if not endpoints[name]:
            raise ProviderError("provider_unavailable", f"the discovery document names no {name}")
    for name, url in endpoints.items():
        if url:
            check_url(url, name)
        if url and not getattr(provider, name):
            _check_discovered(url, name, provider)
    _check_parameters(endpoints["authorization_endpoint"])
    return Metadata(
        issuer=provider.issuer or (GITHUB_ISSUER if provider.kind == IdentityProvider.Kind.GITHUB else ""),
        algorithms=_names(document, "id_token_signing_alg_values_supported", {"RS256", "ES256"}),
        token_auth_methods=_names(document, "token_endpoint_auth_methods_supported", {"client_secret_basic"}),
        claims=_names(document, "claims_supported", set()),
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        **endpoints,
    )


def _required(provider: IdentityProvider) -> tuple[str, ...]:
    return _OIDC_REQUIRED if provider.has_id_token else OAUTH2_ENDPOINTS


def _discover(provider: IdentityProvider) -> dict[str, Any]:
    if not provider.issuer:
        raise ProviderError("provider_unavailable", "the provider has neither an issuer nor all of its endpoints")
    document = get_object(discovery_url(provider), "discovery document", ca_certificates=provider.ca_certificates)
    # To the letter: one more slash is another issuer, and its tokens would be refused anyway (Discovery 4.3).
    if (issuer := document.get("issuer")) != provider.issuer:
        named = f", {issuer!r}" if isinstance(issuer, str) and url_problem(issuer) is None else ""
        raise ProviderError(
            "provider_unavailable", f"the discovery document is of another issuer than {provider.issuer!r}{named}"
        )
    return document


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    url = document.get(name, "")
    if not isinstance(url, str):
        raise ProviderError("provider_unavailable", f"the discovery document's {name} is not text")
    return url


def _check_discovered(url: str, name: str, provider: IdentityProvider) -> None:
    """What a provider elsewhere says of itself must not send us to services of this machine, past the gate."""
    problem = url_problem(url)
    if problem is None and leads_to_loopback(url) and not leads_to_loopback(provider.issuer):
        problem = "is on this machine, and the issuer is not"
    if problem is not None:
        raise ProviderError("provider_unavailable", f"the discovery document's {name} is refused: it {problem}")


def _names(document: Mapping[str, Any], name: str, default: set[str]) -> frozenset[str]:
    values = document.get(name)
    if not isinstance(values, list):
        return frozenset(default)
    return frozenset(value for value in values if isinstance(value, str))


def _check_parameters(url: str) -> None:
    if taken := own_parameters(url):
        raise ProviderError("provider_unavailable", f"the authorization_endpoint already has {', '.join(taken)}")
