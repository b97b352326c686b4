"""An application that others wrote, a gateway in front of it by the recipe of the docs, and people who sign in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from playwright.sync_api import Page

from tests.applications import installed
from tests.applications.recipe import Recipe
from tests.support import raw
from tests.support.agent import NAVIGATION
from tests.support.certificates import Certificates, make_certificates
from tests.support.gateway import DIE_WITH_US, Gateway, free_port
from tests.support.oidc import OpenIdProvider, add_provider

# Two have the role that all recipes ask for; mallory can only sign in.
PEOPLE = {
    name: {"email": f"{name}@example.com", "email_verified": True, "name": f"{name.title()} Example", "groups": groups}
    for name, groups in {"alice": ["staff"], "bob": ["staff"], "mallory": []}.items()
}
START_SECONDS = 90
# Where OpenSSL and Go, git, requests, pip and Node are told whom to trust.
AUTHORITY = ("SSL_CERT_FILE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
# What somebody writes who would like to be alice.
_NAMES = ("X-Auth-User-Email", "X-Auth-User-ID", "X-Auth-User-Name", "X_Auth_User_Email", "Remote-User")
FORGED = dict.fromkeys(_NAMES, "alice@example.com")


class _Gateway(Gateway):
    """With https, as in life: its cookies are Secure, and applications hear of the scheme."""

    def __init__(self, data_dir: Path, host: str, certificates: Certificates, *, args: tuple[str, ...], **options: Any):
        files = ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))
        super().__init__(data_dir, args=(*files, *args), tls=True, **options)
        self.host, self.url = host, f"https://{host}:{self.port}"
        self.env["AUTHGATE_PUBLIC_URL"] = self.url
        self.trust = certificates.client_context()

    def connect(self, **options: Any) -> raw.RawClient:
        return super().connect(tls=self.trust, **options)

    def send(self, data: bytes, **options: Any) -> raw.Response:
        return super().send(data, tls=self.trust, **options)


class Stage:
    """`directory`: the application's own, and its home. `screenshots` shows what people saw."""

    def __init__(
        self, title: str, environment: str, template: Path, directory: Path, *, host: str, args: tuple[str, ...] = ()
    ) -> None:
        self.recipe = Recipe(title, free_port())
        self.directory = directory / "application"
        self.directory.mkdir()
        self.screenshots = directory / "screenshots"
        self._own_environment = installed.environment(environment) if environment else {}
        self._certificates = make_certificates(directory, host)
        self.gateway = _Gateway(
            directory / "gateway", host, self._certificates, template=template, policy=self.recipe.policy(), args=args
        )
        self.openid = OpenIdProvider(accounts=PEOPLE)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stage:
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _begin(self) -> None:
        client_id, secret = self.openid.client(self.gateway.url)
        self.openid.start()
        add_provider(self.gateway, "main", self.openid.issuer, client_id, secret)
        self.gateway.start()
        for name, text in self.recipe.files(self.gateway).items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.gateway.stop()
        self.openid.remove()

    # --- the application ----------------------------------------------------------------------------------
    def start(self) -> Stage:
        """By the first command of the recipe; until it listens."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, "bash", "-euc", self.recipe.command(self.gateway)], cwd=self.directory, env=self.env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._wait()
        return self

    def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
            self._process = None

    def run(self, command: str, *, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """A client's command, in a shell; with both outputs where it fails."""
        done = subprocess.run(
            ["bash", "-euc", command], cwd=self.directory, env=self.env | env, capture_output=True, text=True,
            timeout=90,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    @property
    def env(self) -> dict[str, str]:
        """Its own home and programs; also those of Debian's that are for root; nothing of this machine's proxies."""
        inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        inherited["PATH"] += ":/usr/sbin"
        trusted = dict.fromkeys(AUTHORITY, str(self._certificates.ca_file))
        return inherited | self._own_environment | trusted | {"HOME": str(self.directory)}

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self.directory.with_name("application.log")

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.recipe.port), 1).close()
            except OSError:
                assert self._process is not None
                assert self._process.poll() is None, f"it ended:\n{self.output}"
                assert time.monotonic() < deadline, f"it does not listen:\n{self.output}"
                time.sleep(0.1)

    # --- people -------------------------------------------------------------------------------------------
    def open(self, page: Page, path: str, person: str = "alice") -> Page:
        """As somebody who is not signed in yet."""
        page.goto(self.gateway.url + path)
        page.get_by_role("button", name=person).click()
        page.wait_for_url(f"{self.gateway.url}/**")
        return page

    def fetch(self, page: Page, path: str, **options: Any) -> str:
        """What a script on her page gets."""
        ask = "async ([path, options]) => (await fetch(path, options)).text()"
        return str(page.evaluate(ask, [path, options]))

    def show(self, page: Page, name: str) -> None:
        self.screenshots.mkdir(exist_ok=True)
        page.screenshot(path=self.screenshots / f"{name}.png")

    def token(self, person: str = "ci", *roles: str) -> str:
        """A service token; without roles one that is let in nowhere."""
        options = [part for role in roles for part in ("--role", role)]
        return self.gateway.shell.command("service_token", "create", person, *options, "--quiet").strip()

    def assert_closed(self, path: str) -> None:
        """Nobody without the role gets anything, whatever they write; a browser is led to the sign-in."""
        nobody = self.gateway.get(path, headers=[*FORGED.items()])
        assert nobody.status == 401
        visitor = self.gateway.get(path, headers=[*FORGED.items(), *NAVIGATION.items()])
        assert (visitor.status, visitor.header("location").startswith("/auth/login?next=")) == (302, True)
        mallory = self.gateway.get(path, token=self.gateway.mint("mallory"), headers=[*FORGED.items()])
        assert (mallory.status, mallory.json()["reason"]) == (403, "missing_role")
        socket_to_it = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        key = [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
        assert self.gateway.get(path, headers=[*FORGED.items(), *socket_to_it, *key]).status == 401
