"""A real authorization server in Django, django-oauth-toolkit, in a process of its own on a free port of loopback."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.gateway import DIE_WITH_US, free_port
from tests.support.introspecting import API, CLIENT_ID, CLIENT_SECRET
from tests.support.processes import ROOT

MACHINE, MACHINE_SECRET = "machine", "another secret: 100% +"
WEB, WEB_SECRET = "web", "the secret of an application that people use"
APPLICATIONS = [
    {"client_id": MACHINE, "client_secret": MACHINE_SECRET, "authorization_grant_type": "client-credentials"},
    {"client_id": WEB, "client_secret": WEB_SECRET, "authorization_grant_type": "password"},
    {
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "authorization_grant_type": "client-credentials",
        "hash_client_secret": False,
    },
]  # fmt: skip


class OAuthToolkit:
    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="authgate-toolkit-"))
        self._port = free_port()
        self.issuer = f"http://127.0.0.1:{self._port}/o"
        self._process = subprocess.Popen(
            [
                *DIE_WITH_US, sys.executable, "-m", "tests.support.oauth_toolkit_site", str(self._database),
                str(self._port), json.dumps(APPLICATIONS),
            ],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait()

    def token(self, scope: str = "read", resource: str = API) -> str:
        """Of a machine. `resource`: for which service it is; empty: the machine does not say."""
        return self._token(MACHINE, MACHINE_SECRET, resource, grant_type="client_credentials", scope=scope)

    def token_of_a_person(self) -> str:
        return self._token(WEB, WEB_SECRET, API, grant_type="password", username="alice", password="alice")

    def revoke(self, token: str) -> None:
        self._post("/revoke_token/", MACHINE, MACHINE_SECRET, token=token)

    def expire(self, token: str, seconds: int) -> None:
        """From now."""
        with closing(sqlite3.connect(self._database, timeout=10)) as database, database:
            changed = database.execute(
                "UPDATE oauth2_provider_accesstoken SET expires = datetime('now', ?) WHERE token = ?",
                (f"{seconds} seconds", token),
            )
            assert changed.rowcount == 1

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(5)
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _database(self) -> Path:
        return self._directory / "tokens.sqlite3"

    def _token(self, client: str, secret: str, resource: str, **form: str) -> str:
        wanted = {"resource": resource} if resource else {}
        return str(self._post("/token/", client, secret, **form, **wanted)["access_token"])

    def _post(self, path: str, client: str, secret: str, **form: str) -> dict[str, Any]:
        pair = ":".join(map(urllib.parse.quote_plus, (client, secret)))
        request = urllib.request.Request(self.issuer + path, urllib.parse.urlencode(form).encode())
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else {}

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, "django-oauth-toolkit ended"
                assert time.monotonic() < deadline, "django-oauth-toolkit does not listen"
                time.sleep(0.05)
