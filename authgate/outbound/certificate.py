"""How long the certificate is valid that a server shows to everybody."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

from authgate.outbound.fetch import SECONDS, tls_context, unreachable


def valid_until(url: str, host: str, port: int, what: str) -> datetime:
    """Raises ProviderError, also for a certificate that is not trusted."""
    name = host.strip("[]")
    try:
        with (
            socket.create_connection((name, port), SECONDS) as connected,
            tls_context("").wrap_socket(connected, server_hostname=name) as tls,
        ):
            shown = tls.getpeercert() or {}
    except OSError as error:
        raise unreachable(what, url, error) from None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
