"""Two releases on one database, while people and programs go on: as in a rolling upgrade of several machines."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.processes import MANAGE
from tests.support.sessions import _MAKE, _PRELUDE, Made

CLOSED = "version: 1\n"


class Release:
    """One gateway of it, and its own commands."""

    def __init__(self, code: Path, directory: Path, database: str, secret: str, public_url: str | None) -> None:
        self.code = code
        env = {"AUTHGATE_DATABASE_URL": database, "AUTHGATE_SECRET_KEY": secret}
        if public_url is not None:
            env["AUTHGATE_PUBLIC_URL"] = public_url
        directory.mkdir()
        (directory / "template").mkdir(mode=0o700)
        self.gateway = Gateway(
            directory / "data", template=directory / "template", env=env, workers=2, program=(str(code / "manage.py"),)
        )

    def manage(self, *args: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, str(self.code / "manage.py"), *args],
            env=self.gateway.env, cwd=self.code, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.code.name}: manage.py {' '.join(args)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sign_in(self, subject: str) -> Made:
        """By this release's own code, which adds its rows as it knows them."""
        options = {
            "subject": subject, "slug": "idp", "cookie_age": 0, "unseen_for": 0, "left": 3600, "refresh_token": "",
            "claims": {}, "provider": {}, "fields": {},
        }  # fmt: skip
        code = _PRELUDE.format(options=json.dumps(options)) + _MAKE
        return Made(*json.loads(self.manage("shell", "--verbosity=0", "-c", code)))


@contextmanager
def users(*asking: tuple[Gateway, str]) -> Iterator[Callable[[str], None]]:
    """Each asks without a pause. What fails names what was happening."""
    failed: list[str] = []
    doing, stopping, answered = ["start"], threading.Event(), [0]

    def ask(gateway: Gateway, token: str) -> None:
        while not stopping.is_set():
            try:
                status = gateway.get("/api/protected/x", token=token).status
            except (OSError, AssertionError) as error:
                failed.append(f"{doing[0]}: {error!r}")
                continue
            answered[0] += 1
            if status != 200:
                failed.append(f"{doing[0]}: {status}")
            time.sleep(0.01)

    threads = [threading.Thread(target=ask, args=each) for each in asking]
    for thread in threads:
        thread.start()
    try:
        yield lambda what: doing.__setitem__(0, what)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert answered[0] > 100


def status(gateway: Gateway, credential: str | Made) -> set[int]:
    kept: dict[str, Any] = {"headers": credential.headers} if isinstance(credential, Made) else {"token": credential}
    return {gateway.get("/api/protected/x", **kept).status for _ in range(8)}


@pytest.fixture
def former_release(former: Path, postgres: Any, upstream: Any, tmp_path: Path) -> Iterator[Release]:
    database = postgres.create_database()
    release = Release(former, tmp_path / "former", database, "s" * 50, None)
    with release.gateway:
        release.manage("migrate", "--verbosity=0")
        release.manage("policy", "import", "-", stdin=demo_policy(upstream.target))
        release.gateway.start()
        yield release


@pytest.mark.timeout(600)
def test_no_request_is_lost_and_both_releases_do_their_work(former_release: Release, tmp_path: Path) -> None:
    old, new_code = former_release, Path(MANAGE).parent
    env = old.gateway.env
    token = old.manage("mint_token", "alice", "--quiet").strip()
    new = Release(
        new_code, tmp_path / "new", env["AUTHGATE_DATABASE_URL"], env["AUTHGATE_SECRET_KEY"], env["AUTHGATE_PUBLIC_URL"]
    )
    with new.gateway:
        with users((old.gateway, token), (old.gateway, token)) as during:
            during("migrate")
            new.manage("migrate", "--verbosity=0")
            during("the former release goes on")
            old.manage(
                "policy", "import", "-", stdin=demo_policy(old_target(old)).replace("user: {}", "user: {}\n  extra: {}")
            )
            before = old.sign_in("carol")
            assert status(old.gateway, before) == {200}
            during("the new release starts")
            new.gateway.start()

        with users((old.gateway, token), (new.gateway, token)) as during:
            during("each changes what the other decides by")
            signed_in = [before, old.sign_in("dave"), new.sign_in("erin")]
            for session in signed_in:
                assert (status(old.gateway, session), status(new.gateway, session)) == ({200}, {200})
            for release, other in ((old, new), (new, old)):
                name = f"by-{release.code.name}"
                service = release.manage("service_token", "create", name, "--quiet").strip()
                time.sleep(1)
                assert (status(old.gateway, service), status(new.gateway, service)) == ({200}, {200})
                other.manage("service_token", "revoke", name)
                time.sleep(1)
                assert (status(old.gateway, service), status(new.gateway, service)) == ({401}, {401})
                release.manage(
                    "provider", "add", name, "--preset", "github", "--client-id", "i", "--client-secret", "s"
                )
                assert name in other.manage("provider", "list")
                assert other.gateway.get("/auth/login").status == 200
                release.manage("policy", "rollback", "1")
            during("everybody is signed out by the former release")
            old.manage("sessions", "end", "--all", "--yes")
            time.sleep(1)
            for session in signed_in:
                assert (status(old.gateway, session), status(new.gateway, session)) == ({401}, {401})

        with users((new.gateway, token)) as during:
            during("the former release stops")
            assert old.gateway.stop() == 0
            new.manage("policy", "rollback", "1")
        assert status(new.gateway, new.sign_in("frank")) == {200}


def old_target(release: Release) -> str:
    """Of the service, as the policy has it."""
    [line] = [line for line in release.manage("policy", "export").splitlines() if "http://127.0.0.1" in line]
    return line[line.index("http://") :].strip("'\"]} ")
