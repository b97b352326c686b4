"""A real OpenID provider, OpenID Certified `oidc-provider`, in a process of its own on a free port of loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from gateway_site.demo import openid
from gateway_site.demo.openid import ProviderUnavailable
from tests.support.gateway import DIE_WITH_US, Gateway, free_port

__all__ = ["OpenIdProvider", "ProviderUnavailable", "add_provider"]
CLIENT_ID, CLIENT_SECRET = "authgate", "a client secret of more than thirty-two characters"


def add_provider(
    gateway: Gateway,
    slug: str,
    issuer: str,
    client_id: str = CLIENT_ID,
    secret: str = CLIENT_SECRET,
    *,
    name: str = "Main",
    callbacks: str = "public",
) -> None:
    """As an operator would."""
    gateway.shell.command(
        "provider", "add", slug, "--issuer", issuer, "--client-id", client_id, "--client-secret", secret,
        "--name", name, "--callbacks", callbacks,
    )  # fmt: skip


class OpenIdProvider:
    """Options as server.mjs reads them: key_type "RSA" or "EC", refresh_tokens, rotate_refresh_tokens,
    pkce_required, claims_in_id_token, ttl={"AccessToken": seconds, …}, accounts, form_action.

    On 127.0.0.1, while gateways are on localhost: to a browser the two are different sites, as in life.
    """

    def __init__(self, **options: Any) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="authgate-oidc-"))
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, Any] = {
            "port": self.port, "issuer": self.issuer, "clients": [], "accounts": openid.ACCOUNTS, **options,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OpenIdProvider:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def client(self, *gateway_urls: str, slug: str = "main", **metadata: Any) -> tuple[str, str]:
        """Id and secret of a client for gateways at these URLs; before `start`."""
        client_id = f"{CLIENT_ID}-{len(self.settings['clients'])}"
        made = openid.client(client_id, CLIENT_SECRET, list(gateway_urls), prefix="/auth", slug=slug)
        if self.settings.get("key_type") == "EC":
            made["id_token_signed_response_alg"] = "ES256"
        self.settings["clients"].append(made | metadata)
        return client_id, CLIENT_SECRET

    def register(self, gateway: Gateway, *, slug: str = "main", name: str = "Main", **metadata: Any) -> None:
        """Make each known to the other, as an operator would; before `start`."""
        client_id, secret = self.client(gateway.url, slug=slug, **metadata)
        add_provider(gateway, slug, self.issuer, client_id, secret, name=name)

    def change_accounts(self, **accounts: dict[str, Any] | None) -> None:
        """New claims of these people from now on; None: gone. Others stay as they are."""
        merged = {**self.settings["accounts"], **accounts}
        self.settings["accounts"] = {name: claims for name, claims in merged.items() if claims is not None}
        self._write()

    def find(self) -> list[str]:
        """The command that starts it. Raises ProviderUnavailable."""
        return openid.command(self._configuration)

    def start(self) -> OpenIdProvider:
        self._write()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, *self.find()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._wait_until_answering(self._process)
        return self

    def restart(self) -> OpenIdProvider:
        """With its clients of now, and with new keys."""
        self.stop()
        return self.start()

    def stop(self) -> None:
        """What it held in memory is gone: sessions, codes, refresh tokens; and its keys, without `keys_file`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def _configuration(self) -> Path:
        return self.directory / "provider.json"

    @property
    def _log(self) -> Path:
        return self.directory / "provider.log"

    def _write(self) -> None:
        openid.write_private(self._configuration, self.settings)

    def _wait_until_answering(self, process: subprocess.Popen[bytes]) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 20
        while True:
            try:
                with opener.open(f"{self.issuer}/.well-known/openid-configuration", timeout=2) as response:
                    assert json.load(response)["issuer"] == self.issuer
                return
            except (OSError, urllib.error.URLError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise AssertionError(f"the OpenID provider did not start:\n{self.output}") from error
                time.sleep(0.05)
