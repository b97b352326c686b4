"""What a browser does with redirects and cookies, without a browser: many at once cost little."""

from __future__ import annotations

import html
import http.client
import re
import time
import urllib.request
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
}
SCRIPT = {
    "Accept": "application/json",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Site": "same-origin",
}
MOST_REDIRECTS = 12


class Page(NamedTuple):
    url: str
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def location(self) -> str:
        return urljoin(self.url, self.headers["Location"])

    @property
    def refresh(self) -> str:
        """Where the page itself leads on to; empty if it stays."""
        found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', self.text)
        return html.unescape(found[1]) if found else ""


class RedirectLoop(AssertionError):
    """More redirects than any way through sign-in has."""


class Agent:
    """Agents that share `jar` are tabs of one browser. `source` is the loopback address it is seen with."""

    def __init__(self, *, jar: CookieJar | None = None, source: str = "127.0.0.1") -> None:
        self.jar = CookieJar() if jar is None else jar
        self.source = source

    def send(
        self, url: str, method: str = "GET", *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] = {}
    ) -> Page:
        """One request, one answer."""
        asked = urllib.request.Request(url, method=method, headers={**NAVIGATION, **headers})
        self.jar.add_cookie_header(asked)
        parts = urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=60, source_address=(self.source, 0))
        try:
            connection.putrequest(method, _target(url), skip_host=True)
            body = urlencode(form).encode() if form is not None else b""
            if form is not None:
                asked.add_header("Content-Type", "application/x-www-form-urlencoded")
                asked.add_header("Origin", f"{parts.scheme}://{parts.netloc}")
            for name, value in (("Host", parts.netloc), *asked.header_items(), ("Content-Length", str(len(body)))):
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            page = Page(url, answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
            self.jar.extract_cookies(answer, asked)
            return page
        finally:
            connection.close()

    def follow(self, page: Page) -> Page:
        """To where its redirects end."""
        for _ in range(MOST_REDIRECTS):
            if page.status not in (301, 302, 303, 307) and not page.refresh:
                return page
            page = self.send(page.refresh or page.location)
        raise RedirectLoop(page.url)

    def open(self, url: str) -> Page:
        return self.follow(self.send(url))

    def choose(self, page: Page, account: str) -> Page:
        """On the provider's page; as far as the redirects lead."""
        assert "Who are you?" in page.text, (page.url, page.status, page.text)
        return self.follow(self.send(page.url, "POST", form={"account": account}))

    def sign_in(self, url: str, account: str = "alice") -> Page:
        page = self.open(url)
        return self.choose(page, account) if "Who are you?" in page.text else page

    def cookie(self, name: str) -> str | None:
        return next((cookie.value for cookie in self.jar if cookie.name == name), None)

    def set_cookie(self, name: str, value: str) -> None:
        """In place of the one of this name that a site has set."""
        before = next(cookie for cookie in self.jar if cookie.name == name)
        before.value = value

    def wait_for(self, url: str, status: int, *, seconds: float = 2.0) -> Page:
        """As a script would ask, so that no redirect is followed."""
        deadline = time.monotonic() + seconds
        while True:
            page = self.send(url, headers=SCRIPT)
            if page.status == status:
                return page
            assert time.monotonic() < deadline, f"{url} answers {page.status} and not {status}: {page.text}"
            time.sleep(0.05)


def _target(url: str) -> str:
    return re.sub(r"^https?://[^/]+", "", url.partition("#")[0]) or "/"
