"""How long the certificate is valid that a server shows to everybody."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from authgate.outbound.fetch import SECONDS, tls_context, unreachable


def valid_until(url: str, what: str, ca_certificates: str = "") -> datetime:
    """Raises ProviderError, also for a certificate that is not trusted."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    try:
        with (
            socket.create_connection((name, parts.port or 443), SECONDS) as connected,
            tls_context(ca_certificates).wrap_socket(connected, server_hostname=name) as tls,
        ):
            shown = tls.getpeercert() or {}
    except OSError as error:
        raise unreachable(what, url, error) from None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
