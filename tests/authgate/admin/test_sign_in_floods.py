"""A flood of the sign-in form of the admin leaves connections to the database for everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from tests.support import raw
from tests.support.sessions import make_session

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


def test_a_flood_of_the_admin_sign_in_leaves_the_database_to_the_rest(start_gateway, on_postgresql):
    gateway = start_gateway(**on_postgresql())
    expired = [make_session(gateway, f"person{number}", cookie_age=400) for number in range(4)]
    with most_connections(gateway.env["AUTHGATE_DATABASE_URL"]) as counts, ThreadPoolExecutor(120) as strangers:
        flood = [strangers.submit(gateway.get, "/admin/login/") for _ in range(360)]
        renewed = [gateway.get("/api/protected", headers=made.headers).status for made in expired]
        statuses = {request.result().status for request in flood}
    assert (renewed, max(counts) <= 16) == ([200] * 4, True), counts
    assert 200 in statuses <= {200, 503}


def test_a_flood_of_strangers_who_leave_at_once_is_bounded_too(start_gateway, on_postgresql):
    gateway = start_gateway(**on_postgresql())
    expired = [make_session(gateway, f"person{number}", cookie_age=400) for number in range(4)]

    def ask_and_go(_: int) -> None:
        with gateway.connect() as client:
            client.send(raw.request(target="/admin/login/", host=f"localhost:{gateway.port}"))
            time.sleep(0.004)

    with most_connections(gateway.env["AUTHGATE_DATABASE_URL"]) as counts, ThreadPoolExecutor(40) as strangers:
        flood = strangers.map(ask_and_go, range(3000))
        renewed = [gateway.get("/api/protected", headers=made.headers).status for made in expired]
        list(flood)
    assert (renewed, max(counts) <= 16) == ([200] * 4, True), max(counts)
    assert gateway.get("/admin/login/").status == 200
