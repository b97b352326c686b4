"""Whether the targets of an upstream can be reached from here, and what to do where one cannot."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from authgate.policy.schema import Upstream
from proxy.upstream import dial
from proxy.upstream.checks import is_good
from proxy.upstream.probe import NoAnswer, certificate_end, probe
from proxy.upstream.resolve import Resolver
from proxy.upstream.targets import Target, UpstreamUnreachable, parse_target

_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


class Finding(NamedTuple):
    ok: bool
    target: str
    detail: str
    advice: str = ""
    status: int = 0  # of the response, if there was one
    certificate_end: datetime | None = None


async def diagnose(upstream: Upstream, seconds: float) -> list[Finding]:
    """`seconds`: that a target may take to answer."""
    return [await _examine(upstream, target, seconds) for target in dict.fromkeys(upstream.targets)]


async def _examine(upstream: Upstream, text: str, seconds: float) -> Finding:
    target, resolver = parse_target(text), Resolver()
    check = upstream.health
    try:
        where = await _addresses(target, resolver)
        status = await probe(target, upstream.tls, resolver, check.path or "/", seconds)
    except NoAnswer as error:
        return Finding(False, text, str(error), next(_advice(target, error), ""))
    except OSError as error:
        return Finding(
            False, text, f"name: {error.strerror or error}", "check its spelling, and the DNS of this machine"
        )
    if check.path and not is_good(check, status):
        said = f"{where}{check.path} answers with status {status}, which health.status does not allow"
        return Finding(False, text, said, status=status)
    end = await _certificate_end(upstream, target, resolver, seconds)
    return Finding(True, text, f"{where}{check.path or '/'} answers with status {status}", "", status, end)


async def _certificate_end(upstream: Upstream, target: Target, resolver: Resolver, seconds: float) -> datetime | None:
    if target.scheme == "https":
        with suppress(OSError):  # it has just answered
            return await certificate_end(target, upstream.tls, resolver, seconds)
    return None


async def _addresses(target: Target, resolver: Resolver) -> str:
    if target.scheme == "unix" or dial.is_address(target.host):
        return ""
    return f"{', '.join(await resolver.addresses(target.host))}: "


def _advice(target: Target, error: NoAnswer) -> Iterator[str]:
    cause = error.__cause__
    if isinstance(cause, ConnectionRefusedError):
        yield f"nothing listens {'there' if target.scheme == 'unix' else f'on port {target.port}'}: is the service up?"
    elif isinstance(cause, FileNotFoundError):
        yield "there is no such socket: is the service up, and is this its path?"
    elif isinstance(cause, PermissionError):
        yield "the user of the gateway may not open this socket"
    elif isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in _NAME_MISMATCH:
            yield "its certificate is for another name: tls.server_name says which one to expect"
        else:
            yield "tls.ca_file names the authority that has signed it"
    elif isinstance(cause, ssl.SSLError):
        yield "does it speak TLS, and is this its port? Without TLS, the target begins with http://"
    elif isinstance(cause, TimeoutError):
        yield "a firewall may drop it, or the service takes no new connections"
    elif not isinstance(cause, UpstreamUnreachable) and cause is None:
        yield "the connection was made: is it the right port, and does the service hang?"
