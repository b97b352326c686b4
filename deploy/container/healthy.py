"""Exit status 0 if the gateway of this container answers. An image has no curl, and needs no shell for this."""

from __future__ import annotations

import http.client
import ssl
import sys
from urllib.parse import urlsplit

SECONDS = 4


def is_healthy(url: str) -> bool:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        # To itself, over loopback: its certificate names another host.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_healthy(*sys.argv[1:] or ["http://127.0.0.1:8000/health"]))
