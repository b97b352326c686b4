"""The demo's own place to sign in: started with the gateway, registered with it once."""

from __future__ import annotations

import json
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from authgate.models.people import IdentityProvider
from authgate.oidc.provider import seal_client_secret
from authgate.own_hosts import own_hosts
from authgate.policy.powers import Machine
from authgate.sessions import registration
from authgate.wire.authority import Authority, Origin, parse_origin
from gateway_site.demo import openid, traces

CONFIGURATION, KEYS = traces.FILES


def prepare(data_dir: Path, url: str, auth_prefix: str) -> None:
    """The provider's configuration for this start, and the provider registered with the gateway."""
    path = data_dir / CONFIGURATION
    kept = _read(path)
    port = _free_port(kept.get("port"), parse_origin(url).port + 1000)
    secret = kept["clients"][0]["client_secret"] if kept else secrets.token_urlsafe(32)
    issuer = f"http://127.0.0.1:{port}"
    client = openid.client(traces.CLIENT_ID, secret, _gateway_urls(url), prefix=auth_prefix, slug=traces.PROVIDER)
    configuration = {
        "port": port,
        "issuer": issuer,
        "keys_file": str(data_dir / KEYS),
        "claims_in_id_token": True,
        "clients": [client],
        "accounts": kept.get("accounts", openid.ACCOUNTS),
    }
    openid.write_private(path, configuration)
    _register(issuer, secret, is_first=not kept)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            return kept
    return {}


def _register(issuer: str, secret: str, *, is_first: bool) -> None:
    """What an operator has changed or removed since the first start stays so; only the address must be right."""
    # The same provider at another port: its own file says who its people are, so they stay who they are.
    IdentityProvider.objects.filter(slug=traces.PROVIDER).update(issuer=issuer)
    if is_first:
        row = IdentityProvider.objects.filter(slug=traces.PROVIDER).first()
        row = row or IdentityProvider(slug=traces.PROVIDER, name="Demo", client_id=traces.CLIENT_ID, issuer=issuer)
        row.sealed_client_secret = seal_client_secret(row, secret)
        registration.save(row, Machine(traces.AUTHOR))


def _gateway_urls(url: str) -> list[str]:
    """By every name that a browser on this machine may use for the gateway, the public one first."""
    scheme, (public, port) = parse_origin(url)
    return [url, *(str(Origin(scheme, Authority(host, port))) for host in sorted(own_hosts() - {public}))]


def _free_port(*wanted: int | None) -> int:
    """The same at each start where that is possible: the provider's address is its name."""
    for port in (*wanted, 0):
        with socket.socket() as probe, suppress(OSError, OverflowError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port is not None:
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")
