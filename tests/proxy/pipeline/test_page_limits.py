"""How many bytes of a body a stranger may send to a page of the gateway's own."""

from __future__ import annotations

import pytest

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
