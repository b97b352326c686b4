"""GitHub has no ID token: its API says who somebody is. The answers become OpenID Connect's claims."""

from __future__ import annotations

from typing import Any

from authgate.models.people import IdentityProvider
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import check_userinfo_status, get, read_json

_PER_PAGE = 100
_MAX_PAGES = 10


def userinfo(provider: IdentityProvider, user_url: str, access_token: str) -> dict[str, Any]:
    """Asks for what the scopes allow; then a refusal is an error, not fewer groups. Raises ProviderError."""
    reader = _Reader(provider, user_url, access_token)
    user = reader.one("")
    number = user.get("id")
    # The number: a login name can be given up, and taken by somebody else.
    if type(number) is not int or number <= 0:
        raise ProviderError("userinfo_failed", "GitHub's answer has no user id")
    scopes = set(provider.scopes)
    emails = reader.all("/emails") if scopes & {"user", "user:email"} else []
    claims = {
        "sub": str(number),
        "preferred_username": user.get("login"),
        "name": user.get("name") or user.get("login"),
    }
    claims |= _primary(emails)
    if scopes & {"read:org", "admin:org"}:
        claims["groups"] = _groups(reader.all("/orgs"), reader.all("/teams"))
    return claims


def _primary(emails: list[dict[str, Any]]) -> dict[str, Any]:
    # Not /user's public address: nothing says that it is proven.
    for entry in emails:
        if entry.get("primary") is True and isinstance(entry.get("email"), str):
            return {"email": entry["email"], "email_verified": entry.get("verified") is True}
    return {}


def _groups(organisations: list[dict[str, Any]], teams: list[dict[str, Any]]) -> list[str]:
    groups = [org["login"] for org in organisations if isinstance(org.get("login"), str)]
    for team in teams:
        organisation, slug = team.get("organization"), team.get("slug")
        if isinstance(organisation, dict) and isinstance(organisation.get("login"), str) and isinstance(slug, str):
            groups.append(f"{organisation['login']}/{slug}")
    return groups


class _Reader:
    def __init__(self, provider: IdentityProvider, user_url: str, access_token: str) -> None:
        self._provider = provider
        self._user_url = user_url
        self._headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/vnd.github+json"}

    def one(self, path: str) -> dict[str, Any]:
        value = self._get(path)
        if not isinstance(value, dict):
            raise ProviderError("userinfo_failed", "GitHub's answer is not an object")
        return value

    def all(self, path: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for page in range(1, _MAX_PAGES + 1):
            # Counted, not followed: a link could lead anywhere with the token.
            value = self._get(f"{path}?per_page={_PER_PAGE}&page={page}")
            if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
                raise ProviderError("userinfo_failed", f"GitHub's answer for {path} is not a list of objects")
            entries += value
            if len(value) < _PER_PAGE:
                return entries
        raise ProviderError("userinfo_failed", f"GitHub lists more than {_PER_PAGE * _MAX_PAGES} entries for {path}")

    def _get(self, path: str) -> Any:
        what = f"GitHub API /user{path.partition('?')[0]}"
        try:
            answer = get(
                self._user_url + path, what, ca_certificates=self._provider.ca_certificates, headers=self._headers
            )
            check_userinfo_status(what, answer.status)
            return read_json(answer.body, what)
        except ProviderError as error:
            raise ProviderError("userinfo_failed", error.detail, is_final=error.is_final) from None
