"""Pages of the gateway's own while something around it is broken: a page that says so, and one line of log."""

from __future__ import annotations

import os
import re
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.authgate.state.test_ready import not_ready, readiness
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]
BROWSER = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
FORM = ("Content-Type", "application/x-www-form-urlencoded")
PAGES = ("/admin/login/", "/auth/login", "/auth/login?provider=main")
SERVERS = [pytest.param((), id="http1"), pytest.param(("--http2",), id="http2")]
PASSWORD = "correct horse battery"


def is_explained(response: raw.Response) -> bool:
    return response.status == 503 and "The database is busy or away" in response.text


@pytest.mark.parametrize("args", SERVERS)
def test_without_its_database_file_the_gateway_says_so_and_makes_no_other(
    start_gateway: StartGateway, args: tuple[str, ...]
) -> None:
    gateway = start_gateway(workers=2, args=args)
    assert wait_until(lambda: readiness(gateway) == {"ready": True}, 15)
    file, away = gateway.data_dir / "authgate.sqlite3", gateway.data_dir / "away"
    file.rename(away)
    assert wait_until(lambda: readiness(gateway) == not_ready("the database cannot be used"), 15)
    for _ in range(3):
        assert [is_explained(gateway.get(page, headers=BROWSER)) for page in PAGES] == [True] * len(PAGES)
    assert gateway.get("/auth/login").json()["error"] == "unavailable"
    assert gateway.get("/api/public/x").status == 200
    for command in (("check",), ("policy", "show"), ("mint_token", "alice"), ("createsuperuser", "--noinput")):
        gateway.run(*command)
    assert "authgate.I030" in gateway.run("check", "--fail-level", "WARNING").stderr
    assert not file.exists()
    away.rename(file)
    assert wait_until(lambda: readiness(gateway) == {"ready": True}, 15)
    assert gateway.get("/admin/login/", headers=BROWSER).status == 200
    assert f"unable to open database file: '{file}' is not there; put it back, or run manage.py" in gateway.output
    assert "Traceback" not in gateway.output


@pytest.mark.parametrize("size", [0, 4096], ids=["emptied", "overwritten"])
def test_a_database_that_is_damaged_in_place_is_seen_by_readiness(start_gateway: StartGateway, size: int) -> None:
    gateway = start_gateway()
    file = gateway.data_dir / "authgate.sqlite3"
    with file.open("r+b") as opened:
        opened.write(b"x" * size) if size else opened.truncate(0)
    assert wait_until(lambda: readiness(gateway) == not_ready("the database cannot be used"), 15)
    assert gateway.get("/api/public/x").status == 200
    assert f"'{file}' is damaged, or no database; restore it from a backup" in gateway.output


def test_an_outage_is_one_line_however_many_ask(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    before = len(gateway.output)
    (gateway.data_dir / "authgate.sqlite3").rename(gateway.data_dir / "away")
    assert wait_until(lambda: readiness(gateway) != {"ready": True}, 15)
    for number in range(30):
        gateway.get("/admin/login/", headers=[("X-Forwarded-For", f"203.0.113.{number}")])
        assert gateway.get("/health/ready").status == 503
    lines = [line for line in gateway.output[before:].splitlines() if " ERROR " in line or " WARNING " in line]
    assert len([line for line in lines if "authgate.pages.outages" in line]) == 1
    assert len(lines) == 2, lines  # and the watcher's


class Log:
    """Standard error on a pipe: whatever else may not be written, this may."""

    def __init__(self) -> None:
        read, self.descriptor = os.pipe()
        self.text = ""
        self._file = os.fdopen(read, "r", errors="replace")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._file:
            self.text += line


def post_sign_in(gateway: Gateway) -> raw.Response:
    page = gateway.get("/admin/login/", headers=BROWSER)
    if page.status == 503:
        return page
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    cookie = re.search(r"authgate_csrf=(\w+)", " ".join(page.all("set-cookie")))
    assert token is not None and cookie is not None
    fields = {"csrfmiddlewaretoken": token[1], "username": "admin", "password": PASSWORD, "next": "/admin/"}
    headers = [*BROWSER, FORM, ("Cookie", f"authgate_csrf={cookie[1]}"), ("Origin", gateway.url)]
    return gateway.request("/admin/login/", method="POST", headers=headers, body=urlencode(fields).encode())


def test_on_a_full_disk_who_signs_in_reads_why_they_cannot(start_gateway: StartGateway, tmp_path: Path) -> None:
    log = Log()
    gateway = start_gateway(stderr=log.descriptor)
    gateway.manage(
        "shell", "-c",
        f"from django.contrib.auth.models import User; User.objects.create_superuser('admin', password={PASSWORD!r})",
    )  # fmt: skip
    [worker] = gateway.worker_pids()
    unlimited = resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    assert is_explained(post_sign_in(gateway))
    assert gateway.get("/api/public/x").status == 200
    resource.prlimit(worker, resource.RLIMIT_FSIZE, unlimited)
    assert post_sign_in(gateway).status == 302
    assert wait_until(lambda: "met: database: " in log.text)
    assert "Traceback" not in log.text


def test_a_database_that_lacks_a_table_is_the_operators_to_mend(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    gateway.manage(
        "shell", "-c", "from django.db import connection; connection.cursor().execute('DROP TABLE django_session')"
    )
    cookie = [("Cookie", "authgate_admin=" + "a" * 32)]
    assert gateway.get("/admin/", headers=[*BROWSER, *cookie]).status == 503
    assert "run manage.py migrate first" in gateway.output
