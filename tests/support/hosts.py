"""Applications on hosts of their own beside the public one, and browsers that sign in on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from tests.support.agent import SCRIPT, Agent
from tests.support.gateway import Gateway
from tests.support.oidc import add_provider
from tests.support.policies import demo_policy

HOSTS = ("wiki.localhost", "git.localhost")
COUNT = iter(range(1, 250))


def policy(target, *hosts):
    routes = [
        f"  - {{name: app{number}, host: '{host}', path: /, access: authenticated, upstream: api}}\n"
        for number, host in enumerate(hosts)
    ]
    return demo_policy(target) + "".join(routes)


@contextmanager
def gateway_of_hosts(directory, template, target, openid) -> Iterator[Gateway]:
    """With a provider that knows one redirect URI."""
    with Gateway(directory / "data", template=template, policy=policy(target, *HOSTS), workers=2) as gateway:
        client_id, secret = openid.client(gateway.url)
        openid.start()
        add_provider(gateway, "main", openid.issuer, client_id, secret)
        yield gateway.start()


class Browser(Agent):
    """Each is another client of the gateway, so that no test uses up the limit of the next."""

    def __init__(self, gateway, **options):
        super().__init__(source=f"127.2.0.{next(COUNT)}", **options)
        self.public = gateway.url
        self.wiki, self.git = (f"http://{host}:{gateway.port}" for host in HOSTS)

    def tab(self):
        tab = object.__new__(Browser)
        tab.__dict__.update(self.__dict__)
        return tab

    def to_the_arrival(self, url, account="alice"):
        """The address with the code, which this browser is led to and has not opened."""
        page = self.send(url)
        while True:
            if "/auth/arrive" in (arrival := page.refresh or page.location):
                self.code = query_of(arrival)["code"]
                return arrival
            if "Who are you?" in page.text:
                page = self.send(page.url, "POST", form={"account": account})
            else:
                page = self.send(page.location)

    def cookie_of(self, host, name="auth_token"):
        return next((one.value for one in self.jar if one.name == name and one.domain == host), None)

    def status(self, url):
        return self.send(url, headers=SCRIPT).status


def carry(browser, origin, cookie, headers=SCRIPT):
    """As somebody who has this cookie, whatever host it was for."""
    asked = {**headers, "Cookie": f"auth_token={cookie}"}
    return Agent(source=browser.source).send(f"{origin}/api/protected", headers=asked)


def sign_out(browser, origin):
    return browser.send(f"{origin}/auth/logout", "POST", form={}, headers={"Sec-Fetch-Site": "same-origin"})


def reason_of(page):
    found = re.search(r"<dt>Reason</dt><dd><code>(\w+)", page.text)
    return found[1] if found else None


def query_of(url):
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
