"""One sign-in from beginning to end, with a provider of the test's own and a browser that is a dictionary."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

from django.http import QueryDict

from authgate.models.people import IdentityProvider
from authgate.oidc.login import Begun, Completed, begin, complete
from authgate.oidc.provider import seal_client_secret
from tests.support.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider

ORIGIN = "http://gateway.test"


def make_provider(hostile: HostileProvider, slug: str = "test", **changes: Any) -> IdentityProvider:
    values = {"slug": slug, "name": "Test", "issuer": hostile.url, "client_id": CLIENT_ID, **changes}
    provider = IdentityProvider(**values)
    provider.sealed_client_secret = seal_client_secret(provider, CLIENT_SECRET)
    provider.save()
    return provider


class Browser:
    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def keep(self, lines: Any) -> None:
        for line in lines:
            for name, morsel in SimpleCookie(line).items():
                self.cookies.pop(name, None)
                if morsel["max-age"] != "0":
                    self.cookies[name] = morsel.value

    def begin(self, provider: IdentityProvider, next_path: str = "/wiki") -> Begun:
        begun = begin(provider, ORIGIN, next_path, self.cookies)
        self.keep(begun.set_cookies)
        return begun

    def complete(self, query: str, slug: str = "test", origin: str = ORIGIN) -> Completed:
        return complete(slug, origin, QueryDict(query), self.cookies)


def sign_in(hostile: HostileProvider, provider: IdentityProvider, **answer: Any) -> Completed:
    browser = Browser()
    return browser.complete(hostile.authorize(browser.begin(provider).location, **answer), provider.slug)
