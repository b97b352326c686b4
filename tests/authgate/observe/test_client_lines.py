"""Whoever causes many lines of log hides nobody else's, and is counted."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator

import pytest

from authgate.observe.strangers import (
    ALL_BURST,
    ALL_SECONDS,
    CLIENT_BURST,
    CLIENT_SECONDS,
    NOBODY,
    Cause,
    ClientLines,
    Pace,
    cause,
)
from authgate.ratelimit import client_key
from tests.support import raw
from tests.support.gateway import Gateway

StartGateway = Callable[..., Gateway]
BOTH_SERVERS = pytest.mark.parametrize("args", [(), ("--http2",)], ids=["http1", "http2"])
LEFT_OUT = re.compile(r"(\d+) log lines that clients caused were left out, (\d+) of them by (\S+)")
BY_PROXY = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1/32"}


def ask(gateway: Gateway, name: str, *clients: str) -> None:
    """Each has a logout refused, which is a line."""
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    with gateway.connect() as connection:
        for address in clients:
            headers = [("X-Forwarded-For", address), kind]
            path = f"/auth/backchannel-logout/{name}"
            connection.send(raw.request("POST", path, headers, b"logout_token=x", host=gateway.host)).response()


def lines(gateway: Gateway, name: str) -> int:
    return gateway.output.count(f"a logout of {name} is refused")


@BOTH_SERVERS
def test_one_client_has_few_lines_of_log_and_the_others_have_theirs(
    start_gateway: StartGateway, args: tuple[str, ...]
) -> None:
    gateway = start_gateway(args=args, env=BY_PROXY)
    ask(gateway, "loud", *["203.0.113.9"] * 300)
    ask(gateway, "quiet", "203.0.113.10", "203.0.113.11")
    gateway.stop()
    written = lines(gateway, "loud")
    assert CLIENT_BURST <= written <= CLIENT_BURST + 2
    assert lines(gateway, "quiet") == 2
    assert LEFT_OUT.findall(gateway.output) == [(str(300 - written), str(300 - written), "203.0.113.9")]
    assert len(gateway.log_lines(path="/auth/backchannel-logout/loud")) == 300


def test_many_clients_together_have_few_lines_too(start_gateway: StartGateway) -> None:
    gateway = start_gateway(env=BY_PROXY)
    ask(gateway, "loud", *(f"2001:db8:0:{number:x}::1" for number in range(500)))
    gateway.stop()
    [(left_out, _, _)] = LEFT_OUT.findall(gateway.output)
    assert lines(gateway, "loud") + int(left_out) == 500
    assert lines(gateway, "loud") < 1.5 * ALL_BURST


def test_addresses_of_one_network_are_one_client(start_gateway: StartGateway) -> None:
    gateway = start_gateway(env=BY_PROXY)
    ask(gateway, "loud", *(f"2001:db8::{number:x}" for number in range(50)))
    assert lines(gateway, "loud") <= CLIENT_BURST + 1


def test_malformed_requests_and_bad_callbacks_are_limited_too(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    for number in range(40):
        gateway.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: %d\r\n\r\n" % number)
        gateway.get("/auth/callback/main?code=x&state=y")
    assert len(re.findall("refused a request of|sign-in at main failed", gateway.output)) <= CLIENT_BURST + 2


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., bool]]:
    filter_ = ClientLines()
    filter_.key_of = client_key  # type: ignore[method-assign]

    def is_written(name: str = "authgate", level: int = logging.WARNING, **extra: str) -> bool:
        record = logging.LogRecord(name, level, "", 0, "text", (), None)
        record.__dict__.update(extra)
        return filter_.filter(record)

    yield is_written
    filter_.tell()


def test_a_form_that_no_page_reads_is_no_error_of_ours(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    for path in ("/admin/login/", "/auth/logout"):
        assert gateway.request(path, method="POST", body=b"a=b&" * 2000, headers=[kind]).status == 400
    gateway.stop()
    assert "ERROR" not in gateway.output
    assert "Traceback" not in gateway.output


def test_warnings_of_a_client_leave_room_for_its_errors(limited: Callable[..., bool]) -> None:
    assert [limited(cause=Cause("192.0.2.1")) for _ in range(20)].count(True) == CLIENT_BURST
    assert limited(level=logging.ERROR, cause=Cause("192.0.2.1"))


def test_the_operators_own_lines_are_never_left_out(limited: Callable[..., bool]) -> None:
    assert all(limited() for _ in range(500))
    token = cause.set(Cause("192.0.2.1"))
    assert all(limited(**NOBODY) for _ in range(500))
    cause.reset(token)


@pytest.mark.parametrize("name", ["asyncio", "uvicorn.error", "_granian", "django.request"])
def test_what_a_server_says_of_clients_it_does_not_name_is_limited_as_one(
    limited: Callable[..., bool], name: str
) -> None:
    assert [limited(name=name) for _ in range(100)].count(True) == CLIENT_BURST


def test_a_client_gets_a_line_again_after_a_while() -> None:
    pace = Pace(CLIENT_BURST, CLIENT_SECONDS)
    assert [pace.take(("a", False), 0.0) for _ in range(CLIENT_BURST + 1)] == [True] * CLIENT_BURST + [False]
    assert not pace.take(("a", False), CLIENT_SECONDS - 0.1)
    assert pace.take(("a", False), CLIENT_SECONDS)


def test_no_more_clients_are_remembered_than_its_bound() -> None:
    pace = Pace(CLIENT_BURST, ALL_SECONDS)
    for number in range(12_000):
        assert pace.take((str(number), False), 0.0)
    assert len(pace._used_up_to) == 10_000
    pace.take(("late", False), 60.0)
    assert len(pace._used_up_to) == 1
