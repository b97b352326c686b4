"""A provider as it is spoken to: what it is, its keys, a code for tokens, and who somebody is."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

import requests
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError

from authgate.authn.jwk import PublicKey
from authgate.models.people import IdentityProvider
from authgate.oidc import github
from authgate.oidc.claims import mapped
from authgate.oidc.jwks import load_keys
from authgate.oidc.metadata import Metadata, load_metadata
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import BoundedSession, check_userinfo_status, get, read_object, unreachable
from authgate.sealing import SealBroken, seal_text, unseal_text

__all__ = ["ProviderClient", "ProviderError", "TokenSet", "client_secret_of", "seal_client_secret"]

_OAUTH_ERROR = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PRINTABLE = re.compile(r"[^ !#-\[\]-~]")
_DESCRIPTION = 300  # characters of a provider's words that are logged
# So many consecutive characters shared with a secret count as a leak.
_PIECE = 6


@dataclass(frozen=True, slots=True)
class TokenSet:
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    id_token: str = field(default="", repr=False)
    expires_in: int | None = None


class _BoundedClient(BoundedSession, OAuth2Session):  # type: ignore[misc]
    """Authlib's client on the bounded transport."""


class ProviderClient:
    def __init__(self, provider: IdentityProvider) -> None:
        self.provider = provider

    def metadata(self) -> Metadata:
        return load_metadata(self.provider)

    def keys(self, is_meant: Callable[[PublicKey], bool]) -> Sequence[PublicKey]:
        return load_keys(self.metadata().jwks_uri, self.provider.ca_certificates, is_meant)

    def authorization_url(self, *, state: str, nonce: str, verifier: str, redirect_uri: str) -> str:
        metadata = self.metadata()
        # Without an ID token there is nothing that could carry it.
        extra = {"nonce": nonce} if self.provider.has_id_token else {}
        extra["scope"] = " ".join(self.provider.scopes)
        with self._session(metadata, code_challenge_method="S256", redirect_uri=redirect_uri) as session:
            url, _ = session.create_authorization_url(
                metadata.authorization_endpoint, state=state, code_verifier=verifier, **extra
            )
        return str(url)

    def exchange(self, code: str, verifier: str, redirect_uri: str) -> TokenSet:
        """Raises ProviderError("token_exchange_failed")."""
        return self._tokens(
            {"code": code, "code_verifier": verifier, "redirect_uri": redirect_uri, "grant_type": "authorization_code"}
        )

    def refresh(self, refresh_token: str) -> TokenSet:
        """Raises ProviderError("token_exchange_failed"), with `oauth_error` "invalid_grant" if it is worth nothing."""
        return self._tokens({"refresh_token": refresh_token, "grant_type": "refresh_token"})

    def userinfo(self, access_token: str, *, subject: str | None = None) -> dict[str, Any]:
        """Raises ProviderError("userinfo_failed"), also if it tells of somebody else than `subject`."""
        metadata = self.metadata()
        if self.provider.kind == IdentityProvider.Kind.GITHUB:
            claims = github.userinfo(self.provider, metadata.userinfo_endpoint, access_token)
        elif metadata.userinfo_endpoint:
            claims = self._ask_userinfo(metadata.userinfo_endpoint, access_token)
        else:
            return {}
        if self.provider.kind == IdentityProvider.Kind.OAUTH2:
            claims["sub"] = _subject(mapped(self.provider, "sub", claims))
        # Core 5.3.2: an answer about somebody else must not be used.
        if subject is not None and claims.get("sub") != subject:
            raise ProviderError(
                "userinfo_failed",
                "the userinfo endpoint tells of another subject than the ID token",
                is_final=isinstance(claims.get("sub"), str),  # without any it tells of nobody
            )
        return claims

    def _ask_userinfo(self, endpoint: str, access_token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {access_token}"}
        try:
            answer = get(endpoint, "userinfo endpoint", ca_certificates=self.provider.ca_certificates, headers=headers)
            check_userinfo_status("userinfo endpoint", answer.status)
            return read_object(answer.body, "userinfo endpoint")
        except ProviderError as error:
            raise ProviderError("userinfo_failed", error.detail, is_final=error.is_final) from None

    def _tokens(self, grant: dict[str, str]) -> TokenSet:
        metadata = self.metadata()
        secrets = [value for name, value in grant.items() if name not in ("grant_type", "redirect_uri")]
        try:
            with self._session(metadata) as session:
                answer = session.fetch_token(metadata.token_endpoint, **grant)
        except OAuthError as error:
            raise _refused(error, [*secrets, *_spellings(self.provider)]) from None
        except ProviderError as error:
            raise ProviderError("token_exchange_failed", error.detail) from None
        except (requests.RequestException, HTTPError, OSError, ValueError, TypeError, RecursionError) as error:
            detail = unreachable("token endpoint", metadata.token_endpoint, error).detail
            raise ProviderError("token_exchange_failed", detail) from None
        tokens = _token_set(answer)
        # Where nobody verifies one, none is kept.
        return tokens if self.provider.has_id_token else replace(tokens, id_token="")

    @contextmanager
    def _session(self, metadata: Metadata, **options: Any) -> Iterator[Any]:
        secret = client_secret_of(self.provider)
        with _BoundedClient(
            self.provider.ca_certificates,
            client_id=self.provider.client_id,
            client_secret=secret,
            token_endpoint_auth_method=_auth_method(metadata, secret),
            **options,
        ) as session:
            session.register_client_auth_method(("client_secret_basic", _basic))
            session.register_compliance_hook("access_token_response", _check_token_response)
            yield session


def seal_client_secret(provider: IdentityProvider, secret: str) -> str:
    """For `sealed_client_secret`."""
    return seal_text(secret, purpose="client secret", place=provider.slug) if secret else ""


def client_secret_of(provider: IdentityProvider) -> str:
    """Empty: a public client. Raises ProviderError."""
    if not provider.sealed_client_secret:
        return ""
    try:
        return unseal_text(provider.sealed_client_secret, purpose="client secret", place=provider.slug)
    except SealBroken:
        raise ProviderError(
            "provider_unavailable",
            "the client secret cannot be opened: AUTHGATE_SECRET_KEY is not the one it was stored with; enter it again",
        ) from None


def _subject(value: Any) -> Any:
    """Plain OAuth 2.0 has no rule for what names a person: many number them."""
    return str(value) if type(value) is int and value > 0 else value


def _auth_method(metadata: Metadata, secret: str) -> str:
    if not secret:
        return "none"
    methods = metadata.token_auth_methods
    return (
        "client_secret_post"
        if "client_secret_post" in methods and "client_secret_basic" not in methods
        else ("client_secret_basic")
    )


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
    # RFC 6749 2.3.1: encoded as in a form first. Authlib leaves that out, and a ":" or "%" in a secret breaks it.
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {_in_base64(pair)}"
    return uri, headers, body


def _spellings(provider: IdentityProvider) -> list[str]:
    """Of the client secret, as it is sent by one method or the other."""
    secret = client_secret_of(provider)
    encoded = quote_plus(secret)
    return [secret, encoded, _in_base64(f"{quote_plus(provider.client_id)}:{encoded}")] if secret else []


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")


def _check_token_response(response: requests.Response) -> requests.Response:
    """Before Authlib reads it: it takes whatever object comes with a 4xx for a token."""
    document = read_object(response.content, "token endpoint")
    if response.status_code != 200 and not isinstance(document.get("error"), str):
        raise ProviderError("provider_unavailable", f"the token endpoint answered with status {response.status_code}")
    return response


def _token_set(answer: Any) -> TokenSet:
    token_type = answer.get("token_type")
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise ProviderError("token_exchange_failed", "the token endpoint gave a token that is no bearer token")
    if not (access_token := _token(answer, "access_token")):
        raise ProviderError("token_exchange_failed", "the token endpoint gave no access token")
    expires_in = answer.get("expires_in")
    return TokenSet(
        access_token=access_token,
        refresh_token=_token(answer, "refresh_token"),
        id_token=_token(answer, "id_token"),
        expires_in=expires_in if type(expires_in) is int and 0 < expires_in < 10**9 else None,
    )


def _token(answer: Any, name: str) -> str:
    value = answer.get(name) or ""
    # It goes into a header: RFC 6749 A.12 has visible ASCII and nothing else. The answer's bound is its own.
    if not isinstance(value, str) or not re.fullmatch("[!-~]*", value):
        raise ProviderError("token_exchange_failed", f"the token endpoint gave an unusable {name}")
    return value


def _refused(error: OAuthError, secrets: list[str]) -> ProviderError:
    word = error.error if isinstance(error.error, str) and _OAUTH_ERROR.fullmatch(error.error) else "an unknown error"
    said = error.description[:_DESCRIPTION] if isinstance(error.description, str) else ""
    # A provider may repeat what it was sent, whole or in part.
    pieces = {said[start : start + _PIECE] for start in range(len(said) - _PIECE + 1)}
    if any(piece in secret for piece in pieces for secret in secrets):
        said = ""
    said = _PRINTABLE.sub(" ", said)
    detail = f"the token endpoint refused with {word}" + (f" ({said})" if said else "")
    return ProviderError("token_exchange_failed", detail, oauth_error=word)
