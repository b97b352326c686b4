"""How often one client may ask for the pages of signing in and out, and what the others notice of it: nothing."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import psycopg
import pytest

from authgate.ratelimit.sign_in import seconds_to_wait
from authgate.request import RequestFacts
from authgate.wire.authority import Authority
from authgate.wire.headers import Headers
from proxy.pipeline.own_pages import REFUSED_AFTER
from tests.support import raw
from tests.support.agent import Agent
from tests.support.gateway import Gateway
from tests.support.oidc import add_provider
from tests.support.sessions import make_session
from tests.support.token_provider import TokenProvider

StartGateway = Callable[..., Gateway]
PAGE = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
PAGES = [
    ("GET", "/auth/login", 10), ("GET", "/auth/callback", 10), ("GET", "/auth/callback/main", 10),
    ("POST", "/auth/logout", 10), ("POST", "/auth/sessions/end", 10), ("GET", "/auth/frontchannel-logout/main", 10),
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway(gateway_template, tmp_path_factory) -> Iterator[Gateway]:
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"}
    with Gateway(tmp_path_factory.mktemp("limits") / "data", template=gateway_template, env=env) as gateway:
        add_provider(gateway, "main", "http://127.0.0.1:9")
        yield gateway.start()


clients = (f"2001:db8:{number:x}::1" for number in range(1, 10_000))


def ask(gateway: Gateway, client: str, method: str, path: str, headers: raw.Headers = ()) -> raw.Response:
    body = b"" if method == "POST" else None
    return gateway.request(path, method=method, headers=[("X-Forwarded-For", client), *headers], body=body)


@pytest.mark.parametrize(("method", "path", "burst"), PAGES)
def test_one_client_may_ask_only_so_often(gateway, method, path, burst):
    client, other = next(clients), next(clients)
    statuses = [ask(gateway, client, method, path).status for _ in range(burst)]
    assert 429 not in statuses
    refused = [ask(gateway, client, method, path) for _ in range(4)]
    assert 429 in {answer.status for answer in refused}
    assert all(int(answer.header("retry-after")) >= 1 for answer in refused if answer.status == 429)
    assert ask(gateway, other, method, path).status != 429


def test_one_client_may_try_only_so_many_passwords():
    facts = RequestFacts("POST", "http", Authority("x", None), "/admin/login/", b"", next(clients), "", Headers())
    waits = [seconds_to_wait(facts) for _ in range(25)]
    assert (waits.count(0.0), 2 < waits[-1] <= 3) == (20, True)


@pytest.mark.parametrize("path", ["/auth/login", "/auth/logout", "/admin/login/"])
def test_an_ipv6_network_is_one_client(gateway, path):
    network, method = next(clients).removesuffix("1"), "GET" if path == "/auth/login" else "POST"
    assert 429 in (ask(gateway, f"{network}{host:x}", method, path).status for host in range(1, 40))


def test_pictures_of_a_page_do_not_use_up_what_its_reader_may_ask_for(gateway):
    client = next(clients)
    pictures = [ask(gateway, client, "GET", "/auth/login", [("Sec-Fetch-Dest", "image")]) for _ in range(30)]
    assert {answer.status for answer in pictures} == {204}
    assert ask(gateway, client, "GET", "/auth/login", PAGE).status != 429


def test_nobody_guesses_passwords_as_a_picture(gateway):
    client, picture = next(clients), [("Sec-Fetch-Dest", "image")]
    assert 429 in (ask(gateway, client, "POST", "/admin/login/", picture).status for _ in range(25))


def refused_page(gateway: Gateway, method: str, path: str) -> raw.Response:
    client = next(clients)
    answers = (ask(gateway, client, method, path, PAGE) for _ in range(40))
    return next(answer for answer in answers if answer.status == 429)


def test_a_person_gets_a_page_with_the_way_on(gateway):
    page = refused_page(gateway, "GET", "/auth/login?next=/deep%3Fa%3Db")
    assert page.header("content-type") == "text/html; charset=utf-8"
    [way_on] = re.findall(r'class="button" href="([^"]+)"', page.text)
    assert unescape(way_on) == "/auth/login?next=/deep%3Fa%3Db"


def test_a_refused_callback_leads_to_a_new_sign_in_and_names_no_code(gateway):
    page = refused_page(gateway, "GET", "/auth/callback/main?code=planted&state=planted")
    assert re.findall(r'class="button" href="([^"]+)"', page.text) == ["/auth/login?next=/dashboard"]
    assert "planted" not in page.text
    assert page.header("referrer-policy") == "no-referrer"


def test_a_person_whose_form_is_refused_gets_a_page_and_no_link_that_sends_nothing(gateway):
    page = refused_page(gateway, "POST", "/admin/login/")
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert 'class="button"' not in page.text


def test_a_program_gets_json_and_a_line_says_why(gateway):
    client = next(clients)
    answer = next(
        answer for answer in (ask(gateway, client, "GET", "/auth/login") for _ in range(30)) if answer.status == 429
    )
    assert answer.json()["error"] == "rate_limited"
    assert gateway.log_lines(wait_for=1, request_id=answer.json()["request_id"], reason="rate_limited", status=429)


def test_whoever_asks_without_a_pause_waits_for_the_refusal_and_nobody_else_does(gateway):
    client, other = next(clients), next(clients)
    while ask(gateway, client, "GET", "/auth/login").status != 429:
        pass
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        refusals = [pool.submit(ask, gateway, client, "GET", "/auth/login") for _ in range(20)]
        assert ask(gateway, other, "GET", "/health").status == 200
        served = time.monotonic()
        assert {answer.result().status for answer in refusals} & {429}
    assert served - began < REFUSED_AFTER < time.monotonic() - began


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_workers_count_together_and_without_redis(start_gateway, http2):
    """An operator gets in while Redis is away, and nobody else gets more than without it."""
    env = {"AUTHGATE_REDIS_URL": "redis://127.0.0.1:9/0"}
    gateway = start_gateway(workers=2, env=env, args=("--http2",) if http2 else ())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.request("/admin/login/", method="POST", body=b""), range(60)))
    statuses = Counter(answer.status for answer in answers)
    # Ten of strangers, and what time allows. None brings a CSRF token, and few of one client have a turn at once.
    assert (10 <= statuses[403] + statuses[503] <= 14, statuses[403] > 0) == (True, True)


# --- what the others notice ------------------------------------------------------------------------------------


@contextmanager
def hammering(
    gateway: Gateway, connections: int, target: str, method: str = "GET", headers: raw.Headers = ()
) -> Iterator[Counter[int]]:
    """One client asks on so many connections, each as fast as it is answered."""
    statuses: Counter[int] = Counter()
    done = threading.Event()
    body = b"" if method == "POST" else None
    asked = raw.request(method, target, headers, body, host=f"localhost:{gateway.port}")

    def hammer(_: int) -> None:
        with gateway.connect() as client:
            while not done.is_set():
                client.send(asked)
                statuses[client.response(method).status] += 1

    with ThreadPoolExecutor(connections) as pool:
        strangers = [pool.submit(hammer, number) for number in range(connections)]
        try:
            time.sleep(1)
            yield statuses
        finally:
            done.set()
    for stranger in strangers:
        stranger.result()


def sign_in_begins(gateway: Gateway, number: int) -> int:
    return Agent(source=f"127.1.0.{number + 1}").send(f"{gateway.url}/auth/login?next=/api/protected").status


def test_a_client_over_its_limit_keeps_nobody_from_signing_in(start_gateway):
    with TokenProvider() as provider:
        gateway = start_gateway()
        add_provider(gateway, "main", provider.issuer)
        gateway.settle()
        before = {path.name for path in gateway.data_dir.iterdir()}
        with hammering(gateway, 200, "/auth/login") as statuses, ThreadPoolExecutor(25) as people:
            begun = [*people.map(lambda number: sign_in_begins(gateway, number), list(range(25)) * 4)]
            threads = number_of_threads(gateway.worker_pids()[0])
    assert (Counter(begun), statuses[503]) == ({302: 100}, 0)
    assert statuses[429] > 200
    assert threads < 80
    assert {path.name for path in gateway.data_dir.iterdir()} <= before | {"authgate.sqlite3-journal"}


def test_a_client_whose_pages_wait_for_the_database_keeps_nobody_from_signing_in(start_gateway, on_postgresql):
    options = on_postgresql()
    with TokenProvider() as provider, psycopg.connect(options["env"]["AUTHGATE_DATABASE_URL"]) as database:
        gateway = start_gateway(**options)
        made = make_session(gateway, slug="main", provider={"issuer": provider.issuer})
        gateway.settle()
        database.execute("lock table authgate_session in access exclusive mode")
        with hammering(gateway, 80, "/dashboard", headers=made.headers), ThreadPoolExecutor(25) as people:
            begun = [*people.map(lambda number: sign_in_begins(gateway, number), range(25))]
            database.rollback()
    assert Counter(begun) == {302: 25}


def number_of_threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_made_up_sessions_of_the_admin_take_no_connection_each(start_gateway, on_postgresql):
    options = on_postgresql()
    url = options["env"]["AUTHGATE_DATABASE_URL"]
    options["env"]["AUTHGATE_SIGN_IN_RATE"] = "10000/s"
    gateway = start_gateway(**options)
    count = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    made_up = [("Cookie", f"authgate_admin={'x' * 32}")]
    with hammering(gateway, 60, "/auth/logout", "POST", made_up), psycopg.connect(url, autocommit=True) as connection:
        most = max(connection.execute(count).fetchone()[0] for _ in range(100))
    assert most <= 16
