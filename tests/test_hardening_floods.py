"""What strangers may ask for as often as they like, and what of the gateway they must not be able to take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.support import raw
from tests.support.hostile import DISCOVERY, Reply
from tests.support.sessions import make_session, row, run
from tests.support.token_provider import TokenProvider

CONNECTIONS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@contextmanager
def most_connections(url: str) -> Iterator[list[int]]:
    """How many there were, looked at again and again."""
    counts, done = [0], threading.Event()

    def watch() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.wait(0.01):
                counts.append(connection.execute(CONNECTIONS).fetchone()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield counts
    finally:
        done.set()
        watcher.join()


def test_a_flood_of_the_admin_sign_in_leaves_the_database_to_the_rest(start_gateway, postgres):
    url = postgres.create_database()
    gateway = start_gateway(template=None, env={"AUTHGATE_DATABASE_URL": url, "AUTHGATE_SECRET_KEY": "k" * 60})
    expired = [make_session(gateway, f"person{number}", cookie_age=400) for number in range(4)]
    with most_connections(url) as counts, ThreadPoolExecutor(120) as strangers:
        flood = [strangers.submit(gateway.get, "/admin/login/") for _ in range(360)]
        renewed = [gateway.get("/api/protected", headers=made.headers).status for made in expired]
        statuses = {request.result().status for request in flood}
    assert (renewed, max(counts) <= 16) == ([200] * 4, True), counts
    assert 200 in statuses <= {200, 503}


def test_a_flood_of_strangers_who_leave_at_once_is_bounded_too(start_gateway, postgres):
    url = postgres.create_database()
    gateway = start_gateway(template=None, env={"AUTHGATE_DATABASE_URL": url, "AUTHGATE_SECRET_KEY": "k" * 60})
    expired = [make_session(gateway, f"person{number}", cookie_age=400) for number in range(4)]

    def ask_and_go(_: int) -> None:
        with gateway.connect() as client:
            client.send(raw.request(target="/admin/login/", host=f"localhost:{gateway.port}"))
            time.sleep(0.004)

    with most_connections(url) as counts, ThreadPoolExecutor(40) as strangers:
        flood = strangers.map(ask_and_go, range(3000))
        renewed = [gateway.get("/api/protected", headers=made.headers).status for made in expired]
        list(flood)
    assert (renewed, max(counts) <= 16) == ([200] * 4, True), max(counts)
    assert gateway.get("/admin/login/").status == 200


@pytest.fixture
def two_providers(start_gateway):
    """One that works; and one that takes requests, and answers none of them."""
    with TokenProvider() as honest, TokenProvider() as hanging:
        gateway = start_gateway()
        made = make_session(gateway, slug="honest", provider={"issuer": honest.issuer}, provider_sid="s-1")
        make_session(gateway, slug="hanging", provider={"issuer": hanging.issuer})
        done = threading.Event()
        hanging.answers[DISCOVERY] = lambda seen: done.wait(15) and Reply(503)
        yield gateway, honest, hanging, made
        done.set()


def post_logout(gateway, slug, token):
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    body = f"logout_token={token}".encode()
    return gateway.request(f"/auth/backchannel-logout/{slug}", method="POST", headers=form, body=body).status


def test_a_provider_that_hangs_keeps_no_logout_from_another(two_providers):
    gateway, honest, hanging, made = two_providers
    junk, real = hanging.logout_token(sid="s-9"), honest.logout_token(sid="s-1")
    with ThreadPoolExecutor(40) as strangers:
        flood = [strangers.submit(post_logout, gateway, "hanging", junk) for _ in range(40)]
        assert post_logout(gateway, "honest", real) == 200
        assert not any(request.done() and request.result() == 200 for request in flood)
    assert row(gateway, made.sid)["ended"]


def test_what_is_no_logout_token_and_who_is_disabled_has_nobody_asked(two_providers):
    gateway, _, hanging, _ = two_providers
    for junk in ("a.b.c", "x", hanging.sign({"sub": "a"}, typ="at+jwt"), hanging.unsigned({"sub": "a"})):
        assert post_logout(gateway, "hanging", junk) == 400
    run(gateway, "IdentityProvider.objects.filter(slug='hanging').update(enabled=False)")
    assert post_logout(gateway, "hanging", hanging.logout_token(sid="s-9")) == 400
    assert hanging.seen == []
