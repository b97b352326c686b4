"""The cookies that hosts have of one session: each counts on its host alone, and all of them end at once."""

from __future__ import annotations

import re
import threading
from functools import partial

import pytest

from tests.support import sessions
from tests.support.agent import NAVIGATION, Agent
from tests.support.hosts import HOSTS, Browser, carry, gateway_of_hosts, sign_out
from tests.support.sessions import run

OLD_COOKIE = """
session = Session.objects.select_related("person").get(sid=options["sid"])
then = int(time.time()) - 400
print(mint(load_trust(), session.person.subject, kind=Kind.SESSION, now=then, ttl=300, session=session.sid,
           cookie_host=options["host"]))
"""


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory, openid):
    directory = tmp_path_factory.mktemp("hosts")
    with gateway_of_hosts(directory, gateway_template, session_upstream.target, openid) as gateway:
        yield gateway


@pytest.fixture
def browser(gateway, upstream):
    return Browser(gateway)


def test_a_cookie_counts_on_its_own_host_alone(browser):
    """An application can read the codes that arrive on its host, by a service worker, and get a cookie for one."""
    browser.sign_in(f"{browser.wiki}/")
    browser.open(f"{browser.git}/")
    origins = {"localhost.local": browser.public, "wiki.localhost": browser.wiki, "git.localhost": browser.git}
    for owner in origins:
        cookie = browser.cookie_of(owner)
        allowed = {host: carry(browser, origin, cookie).status == 200 for host, origin in origins.items()}
        assert allowed == {host: host == owner for host in origins}


def test_an_application_that_reads_a_victims_code_gets_into_no_other_host(browser, gateway):
    departure = browser.send(f"{browser.wiki}/auth/login").location
    victim = Browser(gateway)
    victim.sign_in(f"{victim.public}/dashboard", "root")
    code = victim.send(departure).location  # as a service worker of wiki.localhost sees it, and does not let it pass
    assert browser.send(code).status == 302
    stolen = browser.cookie_of("wiki.localhost")
    assert (carry(browser, browser.wiki, stolen).status, carry(browser, browser.git, stolen).status) == (200, 401)
    asked = {**NAVIGATION, "Cookie": f"auth_token={stolen}"}
    page = Agent(source=browser.source).send(f"{browser.public}/nothing", headers=asked)
    assert (page.status, "root@example.com" in page.text) == (404, False)
    for path in ("/dashboard", "/admin/", "/auth/api/v1/people", "/auth/me"):
        page = Agent(source=browser.source).send(f"{browser.public}{path}", headers=asked)
        assert page.status in (302, 401), path
        assert "auth_token" not in str(page.headers)
    # Nor does it bring a code for another host, or the end of the victim's session on another host.
    departure = browser.send(f"{browser.git}/auth/login").location
    page = Agent(source=browser.source).send(departure, headers=asked)
    assert "/auth/arrive" not in page.location
    asked = {"Sec-Fetch-Site": "same-origin", "Cookie": f"auth_token={stolen}"}
    Agent(source=browser.source).send(f"{browser.public}/auth/logout", "POST", form={}, headers=asked)
    assert victim.status(f"{victim.public}/api/protected") == 200


def test_each_host_renews_its_own_cookie(browser, gateway):
    """Also when both are due at once, as they are when the same worker has just renewed the other one."""
    browser.sign_in(f"{browser.wiki}/")
    browser.open(f"{browser.git}/")
    origins = {"wiki.localhost": browser.wiki, "git.localhost": browser.git}
    for host, origin in origins.items():
        old = run(gateway, OLD_COOKIE, sid=sessions.sid_of(browser.cookie_of(host)), host=host).strip()
        for _ in range(4):
            page = carry(browser, origin, old)
            assert page.status == 200
            renewed = re.search("auth_token=([^;]+)", page.headers["Set-Cookie"])[1]
            others = [carry(browser, other, renewed).status for other in origins.values() if other != origin]
            assert (carry(browser, origin, renewed).status, others) == (200, [401])
        assert all(carry(browser, other, old).status == 401 for other in origins.values() if other != origin)


# --- tabs that sign in at once -----------------------------------------------------------------------------------
def at_once(calls):
    answers, begin = [None] * len(calls), threading.Barrier(len(calls))

    def run_one(number, call):
        begin.wait(10)
        answers[number] = call()

    threads = [threading.Thread(target=run_one, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_tabs_that_sign_in_at_once_have_one_session_so_one_sign_out_ends_all_of_them(browser):
    """Restored when a browser starts, each without a cookie, and so each with a sign-in of its own."""
    origins = (browser.wiki, browser.git, browser.public)
    tabs = [browser.tab() for _ in origins]
    urls = [f"{origin}/api/protected" for origin in origins]
    pages = at_once([partial(tab.open, url) for tab, url in zip(tabs, urls, strict=True)])
    ends = at_once([partial(tab.choose, page, "alice") for tab, page in zip(tabs, pages, strict=True)])
    assert [end.url for end in ends] == urls
    cookies = [browser.cookie_of(host) for host in ("localhost.local", *HOSTS)]
    assert len({sessions.sid_of(cookie) for cookie in cookies}) == 1
    sign_out(browser, browser.git)
    assert [browser.status(f"{origin}/api/protected") for origin in origins] == [401, 401, 401]
