"""Pending sign-ins in the cookies of one browser."""

from __future__ import annotations

import time

import pytest

from authgate.oidc import login_state
from tests.support.logins import Browser


def _begin(browser: Browser, *, at: float, next_path: str = "/") -> login_state.PendingLogin:
    pending = login_state.new_pending("test", next_path, "http://gateway.test/auth/callback/test", at)
    browser.keep(login_state.store(pending, browser.cookies, at))
    return pending


def test_each_tab_has_a_sign_in_of_its_own() -> None:
    browser, now = Browser(), time.time()
    first, second = (_begin(browser, at=now) for _ in range(2))

    assert login_state.find(first.state, browser.cookies, now) == first
    assert login_state.find(second.state, browser.cookies, now) == second


def test_the_oldest_sign_in_makes_room_for_the_ninth() -> None:
    browser, now = Browser(), time.time()
    pending = [_begin(browser, at=now - 20 + number) for number in range(9)]

    found = [login_state.find(one.state, browser.cookies, now) is not None for one in pending]
    assert found == [False] + [True] * 8


def test_long_addresses_make_room_sooner_than_the_headers_overflow() -> None:
    browser, now = Browser(), time.time()
    for number in range(8):
        _begin(browser, at=now - 20 + number, next_path="/" + "a" * 1900)

    assert 1 <= len(browser.cookies) < 8
    assert sum(map(len, browser.cookies.values())) <= login_state.MAX_COOKIE_BYTES


def test_cookies_that_cannot_be_opened_go_with_the_next_sign_in() -> None:
    browser, now = Browser(), time.time()
    browser.cookies["authgate_login_000000000000"] = "not sealed"
    _begin(browser, at=now)

    assert "authgate_login_000000000000" not in browser.cookies


def test_a_cookie_under_another_name_opens_nothing() -> None:
    browser, now = Browser(), time.time()
    first, second = (_begin(browser, at=now) for _ in range(2))
    name, other = login_state.cookie_name(first.state), login_state.cookie_name(second.state)
    browser.cookies[other] = browser.cookies[name]

    assert login_state.find(second.state, browser.cookies, now) is None


def test_a_changed_cookie_opens_nothing() -> None:
    browser, now = Browser(), time.time()
    pending = _begin(browser, at=now)
    name = login_state.cookie_name(pending.state)
    browser.cookies[name] = browser.cookies[name][:-2] + "AA"

    assert login_state.find(pending.state, browser.cookies, now) is None


@pytest.mark.parametrize("later", [login_state.SECONDS, 3600, -60])
def test_a_cookie_counts_only_in_its_time(later: float) -> None:
    browser, now = Browser(), time.time()
    pending = _begin(browser, at=now)

    assert login_state.find(pending.state, browser.cookies, now + later) is None


def test_the_cookie_shows_nothing_of_what_it_holds() -> None:
    browser, now = Browser(), time.time()
    pending = _begin(browser, at=now)
    line = login_state.store(pending, {}, now)[0]

    assert not any(secret in line for secret in (pending.state, pending.nonce, pending.verifier))
    assert line.endswith("; Max-Age=600; Path=/; HttpOnly; SameSite=Lax")
    assert not any(secret in repr(pending) for secret in (pending.state, pending.nonce, pending.verifier))
