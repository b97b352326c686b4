"""Guesses at the admin's passwords from any number of clients: what they cost, and whom they keep out."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.contrib.auth.hashers import check_password, get_hasher, make_password
from django.http import HttpResponse

from authgate import threads
from authgate.pages import local_sign_in
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.threads import quietly
from authgate.wire.authority import Authority
from authgate.wire.headers import Headers
from tests.support.agent import Agent
from tests.support.gateway import Gateway
from tests.support.oidc import add_provider

StartGateway = Callable[..., Gateway]
PASSWORD = "correct horse battery staple"
STRANGERS = itertools.count(1)


class Operator(Agent):
    """At an address of their own, with the form's token already there."""

    def __init__(self, gateway: Gateway, address: str = "", **options: object) -> None:
        super().__init__(**options)
        self.login = f"{gateway.url}/admin/login/"
        self.address = address or f"2001:db8:{next(STRANGERS):x}::1"
        self.open_form()

    def open_form(self) -> None:
        self.form = self.send(self.login, headers={"X-Forwarded-For": self.address}).text

    def come_back(self) -> None:
        """In the same browser, signed out, from another network."""
        with suppress(KeyError):
            self.jar.clear("localhost.local", "/", "authgate_admin")
        self.address = f"2001:db8:{next(STRANGERS):x}::1"
        self.open_form()

    def try_password(self, password: str, name: str = "root"):
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.form)[1]
        form = {"csrfmiddlewaretoken": token, "username": name, "password": password, "next": "/admin/"}
        return self.send(self.login, "POST", form=form, headers={"X-Forwarded-For": self.address})


@pytest.fixture(scope="module")
def with_root(gateway_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which somebody may sign in with the password."""
    code = f"from django.contrib.auth.models import User; User.objects.create_superuser('root', password={PASSWORD!r})"
    with Gateway(tmp_path_factory.mktemp("root") / "data", template=gateway_template) as gateway:
        gateway.shell.run(code)
        return gateway.data_dir


@pytest.fixture
def start(start_gateway: StartGateway, with_root: Path) -> StartGateway:
    def start(policy: str | None = None, args: tuple[str, ...] = (), **env: str) -> Gateway:
        options = {} if policy is None else {"policy": policy}
        env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1", **env}
        return start_gateway(args=args, env=env, template=with_root, **options)

    return start


@contextmanager
def guessing(gateway: Gateway, at_once: int = 8) -> Iterator[Counter[int]]:
    """Each guess from another network."""
    statuses: Counter[int] = Counter()
    done, one = threading.Event(), Operator(gateway)

    def guess(_: int) -> None:
        while not done.is_set():
            stranger = Operator.__new__(Operator)
            stranger.__dict__.update(one.__dict__, address=f"2001:db8:{next(STRANGERS):x}::1")
            statuses[stranger.try_password("a guess").status] += 1
            time.sleep(0.5)

    with ThreadPoolExecutor(at_once) as pool:
        guesses = [pool.submit(guess, number) for number in range(at_once)]
        try:
            yield statuses
        finally:
            done.set()
    for one_of_them in guesses:
        one_of_them.result()


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_strangers_all_together_get_few_passwords_checked(start):
    gateway = start()
    with guessing(gateway) as statuses:
        time.sleep(4)  # their burst
        checked, began, spent = statuses[200], time.monotonic(), cpu_seconds(gateway.worker_pids()[0])
        time.sleep(6)
        seconds = time.monotonic() - began
        checked, spent = statuses[200] - checked, cpu_seconds(gateway.worker_pids()[0]) - spent
    assert checked <= seconds / 2 + 2
    assert set(statuses) <= {200, 429, 503}
    assert spent < seconds * 0.8  # of one processor, which unbounded guesses keep busy


def test_whoever_has_signed_in_before_is_not_crowded_out(start):
    gateway = start()
    operator = Operator(gateway)
    assert operator.try_password(PASSWORD).status == 302
    with guessing(gateway):
        time.sleep(2)
        operator.come_back()
        assert operator.try_password(PASSWORD).status == 302


def test_whoever_is_crowded_out_gets_a_page(start):
    gateway, html = start(), ("Accept", "text/html")
    addresses = (f"2001:db8:{number:x}::1" for number in STRANGERS)
    tries = (
        gateway.request("/admin/login/", method="POST", body=b"", headers=[("X-Forwarded-For", address), html])
        for address in itertools.islice(addresses, 60)
    )
    page = next(page for page in tries if page.status == 429)
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert int(page.header("retry-after")) in (1, 2)


def test_a_known_browser_may_guess_no_more_often_than_any_client(start):
    gateway = start()
    operator = Operator(gateway)
    assert operator.try_password(PASSWORD).status == 302
    began, answered = time.monotonic(), 0
    while True:
        operator.come_back()
        if operator.try_password("a guess", f"name{answered}").status == 429:
            break
        answered += 1
    limit = local_sign_in.KNOWN_DEVICE
    assert answered <= limit.burst + 1 + (time.monotonic() - began) / limit.interval


def test_the_cookie_of_a_known_browser_is_kept_from_scripts_and_services(start):
    gateway = start()
    page = Operator(gateway).try_password(PASSWORD)
    [cookie] = [line for line in page.headers.get_all("Set-Cookie") if line.startswith("authgate_device=")]
    assert {"HttpOnly", "SameSite=Strict", "Path=/admin/"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize("device", ["x", "x:y:z", "", "é", "a" * 4000])
def test_a_made_up_cookie_makes_nobody_known(device):
    cookie = [(b"cookie", f"a=b; authgate_device={device}".encode())]
    answers = [local_sign_in.find_objection(attempt(cookie)) for _ in range(30)]
    assert {answer.reason for answer in answers if answer} == {Reason.RATE_LIMITED}


@pytest.mark.parametrize("as_one_line", [True, False])
def test_cookies_that_others_put_before_the_real_one_hide_nothing(as_one_line):
    """A service on this host may set any, and a longer path comes first."""
    response = HttpResponse()
    local_sign_in.remember_device(response)
    values = ["planted", "planted:a:b", response.cookies["authgate_device"].value]
    pairs = [f"authgate_device={value}".encode() for value in values]
    cookies = [(b"cookie", b"; ".join(pairs))] if as_one_line else [(b"cookie", pair) for pair in pairs]
    assert local_sign_in.is_known(cookies)


def test_a_cookie_of_long_ago_makes_nobody_known(monkeypatch):
    response = HttpResponse()
    local_sign_in.remember_device(response)
    cookie = [(b"cookie", f"authgate_device={response.cookies['authgate_device'].value}".encode())]
    for _ in range(30):
        local_sign_in.find_objection(attempt([]))
    assert local_sign_in.find_objection(attempt(cookie)) is None
    monkeypatch.setattr(local_sign_in, "_COOKIE_SECONDS", -1)
    assert local_sign_in.find_objection(attempt(cookie)).reason is Reason.RATE_LIMITED


def attempt(headers: list[tuple[bytes, bytes]]) -> RequestFacts:
    return RequestFacts("POST", "http", Authority("x", None), "/admin/login/", b"", "192.0.2.1", "", Headers(headers))


def test_a_wrong_password_makes_nobody_known(start):
    page = Operator(start()).try_password("a guess")
    assert page.status == 200
    assert not [line for line in page.headers.get_all("Set-Cookie") if "authgate_device" in line]


# --- where passwords are accepted ------------------------------------------------------------------------------


def test_the_form_can_be_shut(start):
    gateway = start(AUTHGATE_ADMIN_LOCAL_SIGN_IN="off")
    add_provider(gateway, "main", "http://127.0.0.1:9")
    page = Agent().send(f"{gateway.url}/admin/login/?next=/admin/")
    assert 'name="password"' not in page.text
    assert "/auth/login?next=/admin/" in page.text
    refused = gateway.request("/admin/login/", method="POST", body=b"", headers=[("Accept", "text/html")])
    assert (refused.status, "local_sign_in_closed" in refused.text) == (403, True)


def test_the_form_can_be_kept_to_some_networks(start):
    gateway = start(AUTHGATE_ADMIN_LOCAL_SIGN_IN="192.0.2.0/24, 2001:db8:ffff::/48")
    for address, status in (("192.0.2.9", 302), ("2001:db8:ffff::1", 302), ("198.51.100.1", 403), ("::1", 403)):
        operator = Operator(gateway, "192.0.2.9")
        operator.address = address
        assert operator.try_password(PASSWORD).status == status


# --- what takes a processor ------------------------------------------------------------------------------------


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_passwords_and_keys_take_one_processor_and_leave_it_to_others_first():
    with ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        seen = set(pool.map(lambda _: quietly(lambda: (threading.get_ident(), priority())), range(8)))
    assert len(seen) == 1
    [(_, quiet)] = seen
    assert quiet >= min(19, priority() + threads._NICE)
    assert time.monotonic() - began < 5


def test_the_quiet_thread_is_there_after_a_fork():
    quietly(int)
    child = os.fork()
    if not child:
        os._exit(0 if quietly(int, "7") == 7 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_hashes_are_those_of_django(settings):
    settings.PASSWORD_HASHERS = [
        "authgate.sessions.password_hashing.QuietPasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]  # fmt: skip
    kept = make_password("x", "salt")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    assert check_password("x", kept)
    assert get_hasher().algorithm == "pbkdf2_sha256"
