"""Strangers who ask for pages of the admin from any number of addresses, and what operators notice of it: nothing."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.authgate.admin.test_access import POLICY, cookie_of, open_admin
from tests.authgate.ratelimit.test_password_guesses import (
    PASSWORD,
    Operator,
    start,  # noqa: F401  (a fixture)
    with_root,  # noqa: F401  (another)
)
from tests.support import raw
from tests.support.gateway import Gateway


@contextmanager
def flood(gateway: Gateway, addresses: int, at_once: int = 100) -> Iterator[Counter[int]]:
    statuses: Counter[int] = Counter()
    done, clients = threading.Event(), itertools.cycle(f"2001:db8:ffff:{number:x}::1" for number in range(addresses))

    def ask(_: int) -> None:
        while not done.is_set():
            forwarded = [("X-Forwarded-For", next(clients)), ("Connection", "close")]
            statuses[gateway.get("/admin/login/", headers=forwarded).status] += 1

    with ThreadPoolExecutor(at_once) as pool:
        strangers = [pool.submit(ask, number) for number in range(at_once)]
        try:
            time.sleep(1)
            yield statuses
        finally:
            done.set()
    for stranger in strangers:
        stranger.result()


def test_operators_have_places_that_no_number_of_strangers_takes(start):  # noqa: F811
    gateway = start(policy=POLICY)
    known, by_role = Operator(gateway), cookie_of(gateway, "s-1", groups=["platform-admins"])
    assert known.try_password(PASSWORD).status == 302
    with flood(gateway, addresses=8) as statuses:
        pages = [known.send(f"{gateway.url}/admin/").status for _ in range(8)]
        pages += [open_admin(gateway, by_role) for _ in range(8)]
        known.come_back()
        signed_in = known.try_password(PASSWORD).status
    assert (pages, signed_in) == ([200] * 16, 302)
    assert statuses[503]


def test_a_client_without_a_place_waits_for_the_answer_that_says_so(start):  # noqa: F811
    gateway = start()
    with flood(gateway, addresses=1, at_once=30) as statuses:
        before, began = statuses[503], time.monotonic()
        time.sleep(2)
        refused, seconds = statuses[503] - before, time.monotonic() - began
    # Each of 30 connections four times a second at most.
    assert 0 < refused < 30 * 4 * seconds * 1.2


def test_bodies_of_strangers_leave_room_for_those_of_operators(start):  # noqa: F811
    gateway = start()
    operator = Operator(gateway)
    assert operator.try_password(PASSWORD).status == 302
    cookie = ("Cookie", "; ".join(f"{cookie.name}={cookie.value}" for cookie in operator.jar))
    with ExitStack() as strangers:
        for number in range(600):
            head = [("X-Forwarded-For", f"2001:db8:fffe:{number // 10:x}::1"), ("Content-Length", "65536")]
            connection = strangers.enter_context(gateway.connect())
            connection.send(raw.request("POST", "/auth/logout", head, host=gateway.host) + b"a" * 65_000)
        time.sleep(1)
        form = {"method": "POST", "body": b"a" * 65_000}
        assert gateway.request("/auth/logout", **form).status == 503
        # Refused for what it lacks.
        assert gateway.request("/admin/authgate/route/add/", headers=[cookie], **form).status == 403
