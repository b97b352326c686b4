"""Nobody gets an answer meant for somebody else, whatever clients and upstreams do (Traefik CVE-2026-71324)."""

from __future__ import annotations

import random
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.support import raw
from tests.support.scripted import answer, send_at_once


def echo(connection, request) -> None:
    """The path as the body, framed and paced at random, on connections that are mostly kept."""
    send_at_once(connection)
    connection.read_body(request)
    choice = random.random()
    body = request.path * random.choice([1, 1, 100, 3000])
    if choice < 0.1:
        connection.send(answer(body=body)[: random.randrange(1, 200)])
        connection.close()
        return
    if choice < 0.5:
        connection.send(answer(body=body))
    else:
        half = len(body) // 2
        parts = raw.chunked(body[:half], body[half:]) if half else raw.chunked(body)
        connection.send(answer("Transfer-Encoding: chunked") + parts[: half + 3])
        time.sleep(random.choice([0, 0.001, 0.005]))
        connection.send(parts[half + 3 :])
    connection.keep_alive = choice < 0.9


def one_client(gateway, seed: int) -> int:
    """Whole answers this client got. It leaves in the middle of a third of them."""
    rng = random.Random(seed)
    whole = 0
    for _ in range(25):
        path = f"/api/public/{secrets.token_hex(8)}"
        method = rng.choice(["GET", "GET", "POST"])
        body = b"x" * rng.choice([0, 10, 100_000]) if method == "POST" else None
        with gateway.connect() as client, suppress(raw.Truncated, ConnectionError):
            client.send(raw.request(method, path, body=body, host=f"localhost:{gateway.port}"))
            if rng.random() < 0.3:
                time.sleep(rng.choice([0, 0.001, 0.003]))
                rng.choice([client.close, client.reset])()
                continue
            response = client.response(method)
            if response.status == 200:
                assert re.fullmatch(b"(?:%b)+" % path.encode(), response.body)
                whole += 1
            else:
                assert response.status == 502
    return whole


def test_answers_stay_with_their_requests_while_both_sides_break_off(gateway, upstream):
    upstream.reply(echo)
    with ThreadPoolExecutor(12) as threads:
        whole = sum(threads.map(lambda seed: one_client(gateway, seed), range(12)))
    assert whole > 100


@pytest.mark.parametrize("leave", [raw.RawClient.close, raw.RawClient.reset], ids=["FIN", "RST"])
def test_an_answer_nobody_waits_for_any_more_reaches_nobody(gateway, upstream, leave):
    """Go's and gunicorn's stale answers: the connection of an abandoned request must not be used again."""
    go = threading.Event()

    def late(connection, request):
        go.wait(5)
        connection.send(answer(body=b"stale"))
        connection.wait_closed(5)

    upstream.reply(late, path="/api/public/left")
    upstream.reply(answer(body=b"own"), path="/api/public/own")
    with gateway.connect() as client:
        client.send(raw.request("GET", "/api/public/left", host=f"localhost:{gateway.port}"))
        upstream.wait(1)
        leave(client)
    time.sleep(0.3)
    go.set()
    for _ in range(20):
        assert gateway.get("/api/public/own").body == b"own"


@pytest.mark.parametrize("name", ["X-Accel-Redirect", "X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-URL"])
def test_headers_that_other_proxies_obey_mean_nothing_here(gateway, upstream, name):
    upstream.reply(answer(f"{name}: /etc/passwd", body=b"own"))
    response = gateway.get("/api/public/x")
    assert (response.body, response.header(name)) == (b"own", "/etc/passwd")
    assert len(upstream.requests) == 1


def test_our_refusals_hold_nothing_of_what_the_upstream_said(gateway, upstream):
    upstream.reply(answer("Content-Length: x", "Set-Cookie: a=b", "X-Secret: secret", body=b"secret"))
    response = gateway.get("/api/public/x")
    assert response.status == 502
    assert b"secret" not in response.raw_head + response.body
    assert response.all("set-cookie") == []
