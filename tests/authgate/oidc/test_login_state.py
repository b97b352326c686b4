"""Pending sign-ins in the cookies of one browser."""

from __future__ import annotations

import time

import pytest

from authgate.oidc import login_state
from tests.support.logins import Browser


def _begin(browser: Browser, *, at: float, next_path: str = "/") -> login_state.PendingLogin:
    pending = login_state.new_pending("test", next_path, "http://gateway.test/auth/callback/test", browser.cookies, at)
    browser.keep(login_state.bind(pending, browser.cookies, at))
    return pending


def _begin_at_once(count: int, *, at: float, **options: str) -> tuple[Browser, list[login_state.PendingLogin]]:
    """In tabs of one browser, each before any answer has come."""
    browser, tabs = Browser(), [Browser() for _ in range(count)]
    pending = [_begin(tab, at=at, **options) for tab in tabs]
    for tab in tabs:
        browser.cookies |= tab.cookies
    return browser, pending


def test_tabs_share_the_cookie_of_their_browser() -> None:
    browser, now = Browser(), time.time()
    pending = [_begin(browser, at=now, next_path=f"/{number}") for number in range(200)]

    assert len(browser.cookies) == 1
    assert [login_state.find(one.seal(), browser.cookies, now) for one in pending] == pending


def test_tabs_that_begin_before_the_first_answer_have_a_cookie_each() -> None:
    now = time.time()
    browser, pending = _begin_at_once(20, at=now)

    assert len(browser.cookies) == 20
    assert [login_state.find(one.seal(), browser.cookies, now) for one in pending] == pending


def test_a_sign_in_has_all_of_its_time_whenever_it_begins() -> None:
    browser, first_at = Browser(), time.time()
    for later in range(0, 3 * login_state.SECONDS, 60):
        at = first_at + later
        pending = _begin(browser, at=at)
        # A browser drops the cookie at its Max-Age.
        ends = at + login_state.SECONDS - 1
        kept = {
            name: value
            for name, value in browser.cookies.items()
            if int(name.split("_")[2], 16) + login_state.COOKIE_SECONDS > ends
        }
        assert login_state.find(pending.seal(), kept, ends) == pending


def test_a_cookie_from_the_future_is_nobodys() -> None:
    browser = Browser()
    browser.cookies["authgate_login_ffffffff_00000000"] = "planted"
    pending = _begin(browser, at=time.time())
    assert pending.key != "planted"
    assert "authgate_login_ffffffff_00000000" not in browser.cookies


def test_a_cookie_that_is_used_is_not_taken_away_in_the_same_answer() -> None:
    now = time.time()
    browser = Browser()
    _begin(browser, at=now + 120)
    pending = _begin(browser, at=now)
    assert pending.cookie in browser.cookies


def test_the_oldest_cookies_go_when_there_are_too_many() -> None:
    now = time.time()
    browser, _ = _begin_at_once(login_state.MAX_COOKIES, at=now - 1)
    others, _ = _begin_at_once(20, at=now)
    browser.cookies |= others.cookies
    _begin(browser, at=now)

    assert len(browser.cookies) == login_state.MAX_COOKIES
    assert set(others.cookies) <= set(browser.cookies)


def test_two_hundred_at_once_fit_into_one_header() -> None:
    """Begun before any cookie came back, so none of them made room."""
    browser, _ = _begin_at_once(200, at=time.time(), next_path="/" + "a" * 1900)

    assert len("; ".join(f"{name}={value}" for name, value in browser.cookies.items())) < 12 * 1024


@pytest.mark.parametrize("name", ["authgate_login_x", "authgate_login_00000000_00000000"], ids=["strange", "expired"])
def test_cookies_that_open_nothing_go_with_the_next_sign_in(name: str) -> None:
    browser, now = Browser(), time.time()
    browser.cookies[name] = "old"
    _begin(browser, at=now)

    assert name not in browser.cookies


def test_the_cookie_of_another_sign_in_opens_nothing() -> None:
    now = time.time()
    browser, (first, second) = _begin_at_once(2, at=now)
    browser.cookies[second.cookie] = browser.cookies[first.cookie]

    assert login_state.find(second.seal(), browser.cookies, now) is None


def test_another_browser_opens_nothing() -> None:
    browser, now = Browser(), time.time()
    pending = _begin(browser, at=now)

    assert login_state.find(pending.seal(), {}, now) is None
    assert login_state.find(pending.seal(), {pending.cookie: ""}, now) is None


@pytest.mark.parametrize("place", [0, 20, -1])
def test_a_changed_state_opens_nothing(place: int) -> None:
    browser, now = Browser(), time.time()
    pending = _begin(browser, at=now)
    letters = list(pending.seal())
    letters[place] = "A" if letters[place] != "A" else "B"

    found = login_state.find("".join(letters), browser.cookies, now)
    # The last letter may hold bits that mean nothing; then it is the same sign-in, which counts once.
    assert found is None or (place == -1 and found == pending)


@pytest.mark.parametrize("state", ["", "x", "=", "\u00e9", "A" * 9000])
def test_a_made_up_state_opens_nothing(state: str) -> None:
    browser, now = Browser(), time.time()
    _begin(browser, at=now)

    assert login_state.find(state, browser.cookies, now) is None


@pytest.mark.parametrize("later", [login_state.SECONDS, 3600, -60])
def test_a_sign_in_counts_only_in_its_time(later: float) -> None:
    browser, now = Browser(), time.time()
    pending = _begin(browser, at=now)

    assert login_state.find(pending.seal(), browser.cookies, now + later) is None


def test_neither_cookie_nor_state_shows_what_is_in_it() -> None:
    browser, now = Browser(), time.time()
    pending = _begin(browser, at=now, next_path="/private")
    line, state = login_state.bind(pending, {}, now)[0], pending.seal()

    assert not any(secret in line for secret in (pending.nonce, pending.verifier, "private"))
    assert not any(secret in state for secret in (pending.key, pending.nonce, pending.verifier, "private"))
    assert line.endswith("; Max-Age=1200; Path=/; HttpOnly; SameSite=Lax")
    assert not any(secret in repr(pending) for secret in (pending.key, pending.nonce, pending.verifier))


NAME = "authgate_login_00000000_00000000"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"a=b; {NAME}=key; c=d", {NAME: "key"}),
        (f"{NAME}=key; {NAME}=other", {NAME: ""}),
        (f"\xa0{NAME}=key", {}),
        (f"\x85{NAME}=key", {}),
        ("authgate_login_,=x", {}),
        (f"{NAME}=a b", {}),
    ],
    ids=["plain", "twice", "no-break space", "next line", "strange name", "strange value"],
)
def test_only_exact_cookies_are_of_a_sign_in(line: str, found: dict[str, str]) -> None:
    assert login_state.read_cookies([(b"cookie", line.encode("latin-1")), (b"x", b"y")]) == found
