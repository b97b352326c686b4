"""What a stranger may take of the gateway's own pages: bytes of a body, attempts at the sign-in form."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from authgate import ratelimit
from authgate.ratelimit.local import LocalLimits
from authgate.ratelimit.storage import create_storage
from proxy.server.http1.limits import Limits
from tests.support import raw

FORM_LIMIT = 2_621_440  # Django's own for a form
# What is thrown away behind an answer, and what the kernels of both sides hold.
MOST_TAKEN = Limits().linger_bytes + 8 * 1024 * 1024


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("path", ["/health", "/admin/login/", "/auth/me", "/dashboard"])
def test_nobody_fills_memory_or_disk_by_posting_to_a_page(gateway, path, framing):
    """Django keeps the whole body, on disk, before anything of it looks at the request."""
    piece = b"x" * 65536
    length = ("Content-Length", str(64 * FORM_LIMIT))
    headers = [length] if framing == "length" else [("Transfer-Encoding", "chunked")]
    with gateway.connect() as client:
        client.send(raw.request("POST", path, headers))
        sent = 0
        try:
            while sent < MOST_TAKEN:
                client.send(piece if framing == "length" else b"10000\r\n" + piece + b"\r\n")
                sent += len(piece)
        except OSError:
            pass  # the gateway has stopped reading
        assert sent < MOST_TAKEN


def test_a_body_too_large_for_a_page_is_answered_clearly(gateway):
    body = b"x" * (FORM_LIMIT + 1)
    response = gateway.request("/dashboard", method="POST", body=body)
    assert (response.status, response.json()["reason"]) == (413, "body_too_large")
    request_id = response.header("x-request-id")
    assert gateway.log_lines(wait_for=1, status=413, reason="body_too_large", request_id=request_id)


@pytest.fixture
def attempts(settings, db, monkeypatch):
    monkeypatch.setattr(ratelimit, "_local", LocalLimits(create_storage()))
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def attempt(client, username):
    return client.post("/admin/login/", {"username": username, "password": "wrong"}, REMOTE_ADDR="192.0.2.1")


def test_the_same_account_in_another_script_is_the_same_account(client, attempts):
    """Django takes the fullwidth letters for plain ones (NFKC), so these guess at one password."""
    User.objects.create_superuser("admin", password="right")
    names = ["admin", "\uff41dmin", "a\uff44min", " " * 251 + "admin", " " * 300 + "admin", "admi\uff4e"]
    assert [attempt(client, name).status_code for name in names] == [200] * 5 + [429]
