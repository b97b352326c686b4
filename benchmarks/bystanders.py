"""Twenty-five other people, each at an address of their own: `python -m benchmarks.bystanders`, wanted on stdin."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import sys
import threading
import time
from collections import Counter
from typing import Any

PEOPLE = 25
TIMEOUT = 4.0
_PAUSE_SECONDS = 0.5
_PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
# Their own networks: 127.1.0.0/16 for people, 127.2.0.1 for the identity provider.
_PERSON, _PROVIDER = "127.1.0.{}", "127.2.0.1"


class Seen:
    """What came of one kind of request."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.refused: Counter[str] = Counter()

    def report(self) -> dict[str, Any]:
        times = sorted(self.milliseconds)
        quantiles = statistics.quantiles(times, n=20) if len(times) > 1 else [times[0] if times else 0.0] * 19
        return {
            "served": len(times), "refused": dict(self.refused),
            "p50_ms": round(quantiles[9], 1), "p95_ms": round(quantiles[18], 1),
        }  # fmt: skip


def main() -> None:
    wanted = json.load(sys.stdin)
    seen = {kind: Seen() for kind in ("proxied", "sign_in", "admin", "logout")}
    end = time.monotonic() + wanted["seconds"]
    threads = [threading.Thread(target=_person, args=(number, wanted, end, seen)) for number in range(PEOPLE)]
    threads.append(threading.Thread(target=_provider, args=(wanted, end, seen["logout"])))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({kind: one.report() for kind, one in seen.items()}, sys.stdout)


def _person(number: int, wanted: dict[str, Any], end: float, seen: dict[str, Seen]) -> None:
    source, port = _PERSON.format(number + 1), wanted["port"]
    bearer = {"Authorization": f"Bearer {wanted['token']}"}
    time.sleep(random.random() * _PAUSE_SECONDS)
    while time.monotonic() < end:
        _ask(seen["proxied"], source, port, "GET", "/small", bearer)
        _ask(seen["sign_in"], source, port, "GET", "/auth/login?next=/small", _PAGE)
        _ask(seen["admin"], source, port, "GET", "/admin/login/", _PAGE)
        time.sleep(_PAUSE_SECONDS)


def _provider(wanted: dict[str, Any], end: float, seen: Seen) -> None:
    """The identity provider says that somebody has signed out, four times a second."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for token in wanted["logout_tokens"]:
        if time.monotonic() >= end:
            break
        body = f"logout_token={token}"
        _ask(seen, _PROVIDER, wanted["port"], "POST", wanted["logout_path"], form, body)
        time.sleep(0.25)


def _ask(
    seen: Seen, source: str, port: int, method: str, path: str, headers: dict[str, str], body: str | None = None
) -> None:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT, source_address=(source, 0))
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            seen.milliseconds.append((time.monotonic() - began) * 1000)
        else:
            seen.refused[str(answer.status)] += 1
    except (OSError, http.client.HTTPException) as error:
        seen.refused[type(error).__name__] += 1
    finally:
        connection.close()


if __name__ == "__main__":
    main()
