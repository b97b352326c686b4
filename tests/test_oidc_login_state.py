"""Pending sign-ins in the cookies of one browser."""

from __future__ import annotations

import time

import pytest

from authgate.oidc import login_state
from tests.support.logins import Browser


def _begin(browser: Browser, *, at: float, next_path: str = "/") -> login_state.PendingLogin:
    pending = login_state.new_pending("test", next_path, "http://gateway.test/auth/callback/test", at)
    browser.keep(login_state.bind(pending, browser.cookies, at))
    return pending


def test_each_tab_has_a_sign_in_of_its_own() -> None:
    browser, now = Browser(), time.time()
    first, second = (_begin(browser, at=now) for _ in range(2))

    assert login_state.find(first.seal(), browser.cookies, now) == first
    assert login_state.find(second.seal(), browser.cookies, now) == second


def test_the_oldest_sign_in_makes_room_when_there_are_too_many() -> None:
    browser, now = Browser(), time.time()
    count = login_state.MAX_PENDING
    pending = [_begin(browser, at=now - count - 1 + number) for number in range(count + 1)]

    found = [login_state.find(one.seal(), browser.cookies, now) is not None for one in pending]
    assert found == [False] + [True] * count


def test_two_hundred_at_once_fit_into_one_header() -> None:
    """Begun before any cookie came back, so none of them made room."""
    now = time.time()
    browsers = [Browser() for _ in range(200)]
    for browser in browsers:
        _begin(browser, at=now, next_path="/" + "a" * 1900)

    lines = [f"{name}={value}" for browser in browsers for name, value in browser.cookies.items()]
    assert len("; ".join(lines)) < 12 * 1024


@pytest.mark.parametrize("name", ["authgate_login_x", "authgate_login_00000000_00000000"], ids=["strange", "expired"])
def test_cookies_that_open_nothing_go_with_the_next_sign_in(name: str) -> None:
    browser, now = Browser(), time.time()
    browser.cookies[name] = "old"
    _begin(browser, at=now)

    assert name not in browser.cookies


def test_the_cookie_of_another_sign_in_opens_nothing() -> None:
    browser, now = Browser(), time.time()
    first, second = (_begin(browser, at=now) for _ in range(2))
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
    assert line.endswith("; Max-Age=600; Path=/; HttpOnly; SameSite=Lax")
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
