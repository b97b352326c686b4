"""Signing in at a real OpenID provider, configured in each of the ways in which providers differ."""

from __future__ import annotations

import itertools
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from authgate.oidc.login_state import MAX_COOKIES
from tests.support import sessions
from tests.support.agent import SCRIPT, Agent
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy

PAGE = "/api/protected/page"
SLUGS = (f"provider-{number}" for number in itertools.count())
# The gateway counts attempts to sign in by client: each test is another one.
SOURCES = (f"127.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("sso") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as gateway:
        yield gateway.start()


class Visit:
    """One browser, one provider of its own, and the gateway between what it asks for."""

    def __init__(self, gateway, provider, slug):
        self.gateway, self.provider, self.slug = gateway, provider, slug
        self.agent = Agent(source=next(SOURCES))

    def login_url(self, path=PAGE):
        return f"{self.gateway.url}/auth/login?provider={self.slug}&next={quote(path)}"

    def sign_in(self, account="alice"):
        page = self.agent.sign_in(self.login_url(), account)
        assert (page.url, page.status) == (self.gateway.url + PAGE, 200), (page.url, page.status, page.text)
        return self

    def status(self, path=PAGE):
        return self.agent.send(self.gateway.url + path, headers=SCRIPT).status

    def who(self):
        return json.loads(self.agent.send(f"{self.gateway.url}/auth/me").text)

    @property
    def sid(self):
        return sessions.sid_of(self.agent.cookie("auth_token"))

    def row(self):
        return sessions.row(self.gateway, self.sid)

    def let_time_pass(self):
        """The cookie is past its minutes, and the provider is to be asked again."""
        self.agent.set_cookie("auth_token", sessions.let_time_pass(self.gateway, self.sid, "refresh_at=ago(1)"))
        return self

    def sign_out_at_the_provider(self):
        page = self.agent.open(f"{self.provider.issuer}/session/end")
        secret = re.search(r'name="xsrf" value="([^"]+)"', page.text)[1]
        url = f"{self.provider.issuer}/session/end/confirm"
        return self.agent.send(url, "POST", form={"xsrf": secret, "logout": "yes"})


@pytest.fixture
def visit(gateway, start_openid_provider, upstream):
    def start(**options):
        slug = next(SLUGS)
        return Visit(gateway, start_openid_provider(gateway, slug=slug, name=slug, **options), slug)

    return start


# --- ways to be configured ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {"key_type": "RSA"},
        {"key_type": "EC"},
        {"pkce_required": False},
        {"claims_in_id_token": True},
        {"ttl": {"AccessToken": 2, "IdToken": 2, "AuthorizationCode": 2}},
        {"refresh_tokens": True, "rotate_refresh_tokens": True, "ttl": {"AccessToken": 2}},
    ],
    ids=["RSA", "EC", "PKCE not required", "all claims in the id_token", "short lives", "rotating refresh tokens"],
)
def test_people_sign_in(visit, options):
    someone = visit(**options).sign_in("root")
    assert someone.who()["email"] == "root@example.com"
    assert someone.status("/api/admin/x") == 200


def test_new_keys_of_the_provider_are_found_at_the_next_sign_in(visit):
    someone = visit().sign_in()
    someone.provider.restart()
    someone.agent.jar.clear()
    someone.sign_in()


def test_a_dead_provider_stops_no_one_who_is_signed_in(visit):
    someone = visit().sign_in()
    someone.provider.stop()
    assert someone.status() == 200


# --- the way back -----------------------------------------------------------------------------------------------
def callback_of(someone):
    """Where the provider sends the browser, not yet followed."""
    page = someone.agent.open(someone.login_url())
    page = someone.agent.send(page.url, "POST", form={"account": "alice"})
    while "/auth/callback" not in page.location:
        page = someone.agent.send(page.location)
    return page.location


def changed(url, **values):
    parts = urlsplit(url)
    query = {name: value for name, (value,) in parse_qs(parts.query).items()} | values
    kept = {name: value for name, value in query.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


def test_an_answer_in_the_name_of_another_provider_is_refused(visit):
    someone = visit()
    page = someone.agent.open(changed(callback_of(someone), iss="https://other.example"))
    assert page.status == 400
    assert someone.agent.cookie("auth_token") is None


def test_an_answer_that_does_not_say_from_whom_is_refused_when_the_provider_always_says_so(visit):
    someone = visit()
    page = someone.agent.open(changed(callback_of(someone), iss=None))
    assert page.status == 400
    assert someone.agent.cookie("auth_token") is None


def test_an_answer_brought_by_another_browser_is_refused(visit):
    someone = visit()
    other = Agent(source=next(SOURCES))
    assert other.open(callback_of(someone)).status == 400
    assert other.cookie("auth_token") is None


def test_an_answer_counts_once(visit):
    someone = visit()
    before = list(someone.agent.jar)
    url = callback_of(someone)
    pending = [cookie for cookie in someone.agent.jar if cookie not in before]
    assert someone.agent.open(url).status == 200
    again = Agent(source=next(SOURCES))
    for cookie in pending:
        again.jar.set_cookie(cookie)
    assert again.open(url).status == 400
    assert again.cookie("auth_token") is None


# --- staying signed in --------------------------------------------------------------------------------------------
@pytest.fixture
def refreshing(visit):
    return visit(refresh_tokens=True, rotate_refresh_tokens=True).sign_in()


def test_groups_follow_what_the_provider_says_at_the_next_refresh(refreshing):
    assert refreshing.status("/api/admin/x") == 403
    refreshing.provider.change_accounts(
        alice={"email": "alice@example.com", "email_verified": True, "groups": ["platform-admins"]}
    )
    assert refreshing.let_time_pass().status("/api/admin/x") == 200


def test_somebody_whom_the_provider_no_longer_knows_is_signed_out_at_the_next_refresh(refreshing):
    refreshing.provider.change_accounts(alice=None)
    assert refreshing.let_time_pass().status() == 401
    assert refreshing.row()["ended"]


def test_rotating_tokens_survive_many_tabs_at_once_and_the_refresh_after_them(refreshing):
    before = refreshing.row()["sealed"]
    refreshing.let_time_pass()
    with ThreadPoolExecutor(12) as tabs:
        assert set(tabs.map(lambda _: refreshing.status(), range(24))) == {200}
    after = refreshing.row()["sealed"]
    time.sleep(10.5)  # a worker remembers what it has just renewed
    # A refresh token used twice would have ended the grant at the provider.
    assert refreshing.let_time_pass().status() == 200
    assert before != after != refreshing.row()["sealed"]


# --- signing out at the provider ----------------------------------------------------------------------------------
@pytest.mark.parametrize("key_type", ["RSA", "EC"])
def test_signing_out_at_the_provider_ends_the_session_here(visit, key_type):
    someone = visit(key_type=key_type).sign_in()
    someone.sign_out_at_the_provider()
    for _ in range(4):  # whichever worker answers
        someone.agent.wait_for(someone.gateway.url + PAGE, 401)


# --- many at once -------------------------------------------------------------------------------------------------
def test_more_sign_ins_of_one_browser_than_it_keeps_cookies_for_all_arrive_where_they_led(
    start_gateway, start_openid_provider
):
    """All begun, each with a page of its own at the provider, before the first is completed."""
    gateway, jar = start_gateway(workers=2, env={"AUTHGATE_SIGN_IN_RATE": "1000/s"}), CookieJar()
    someone = Visit(gateway, start_openid_provider(gateway, slug="main"), "main")
    tabs = [Agent(jar=jar, source=someone.agent.source) for _ in range(2 * MAX_COOKIES)]
    urls = [f"{PAGE}?number={number}" for number in range(len(tabs))]
    with ThreadPoolExecutor(16) as at_once:
        asked = list(at_once.map(lambda tab, url: tab.open(someone.login_url(url)), tabs, urls))
        ended = list(at_once.map(lambda tab, page: tab.choose(page, "alice"), tabs, asked))
    assert [(page.status, page.url) for page in ended] == [(200, someone.gateway.url + url) for url in urls]
