"""HTTP for what the event loop itself asks: bounded as in `fetch`, and without a thread for each call.

A thousand threads that wait for an answer would take the interpreter from the loop a thousand times.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import SECONDS, Answer, check_url, place_of, tls_context
from authgate.wire.authority import is_loopback

MAX_BYTES = 64 * 1024
_HEADERS = {"User-Agent": "authgate", "Accept-Encoding": "identity"}
# Its connections are closed before most servers close theirs: Node does after 5 seconds.
_IDLE_SECONDS = 4.0
# Of their own: a name server that hangs must not take the threads in which services are looked up.
_names = ThreadPoolExecutor(4, "names")


class NoAnswer(ProviderError):
    """Nothing came, or not in time: whoever asks next for anything would wait as long."""


class _NotLoopback(OSError):
    pass


class _Resolver(AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        looked_up = _names.submit(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.wrap_future(looked_up)
        # Not every resolver keeps names below localhost to this machine.
        if is_loopback(host) and not all(is_loopback(str(address[0])) for *_, address in found):
            raise _NotLoopback("a name of this machine was resolved to an address of another one")
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in found
        ]  # fmt: skip

    async def close(self) -> None: ...


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
_tls: dict[str, ssl.SSLContext] = {}


async def send(
    url: str,
    what: str,
    *,
    ca_certificates: str,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> Answer:
    """POST with a form, else GET; no redirect is followed. Raises NoAnswer; ProviderError for what is no answer."""
    _check_url(url, what)
    try:
        async with asyncio.timeout(seconds):
            tls = await _tls_context(ca_certificates)
            try:
                return await _send(url, what, tls, headers, form)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                # A kept connection that the server has closed meanwhile. Asking changes nothing, so it may come twice.
                return await _send(url, what, tls, headers, form)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoAnswer("provider_unavailable", f"the {what} at {place_of(url)} {_cause(error)}") from None


_check_url = lru_cache(maxsize=64)(check_url)


async def close() -> None:
    """When the worker ends."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


async def _send(
    url: str, what: str, tls: ssl.SSLContext, headers: Mapping[str, str], form: Mapping[str, str] | None
) -> Answer:
    # Encoded here: the library's own forms and time-outs take as long as all the rest of a call.
    body = None if form is None else urlencode(form).encode("ascii")
    if body is not None:
        headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    request = _session().request(
        "GET" if body is None else "POST", _plain_url(url), data=body, headers=headers, ssl=tls, allow_redirects=False
    )
    async with request as response:
        received = bytearray()
        # As it comes: what a few bytes decompress to has no bound, and nothing compressed was asked for.
        while chunk := await response.content.readany():
            received += chunk
            if len(received) > MAX_BYTES:
                raise ProviderError("provider_unavailable", f"the {what} sent more than {MAX_BYTES} bytes")
        return Answer(response.status, response.headers, bytes(received))


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None:
        session = _sessions[loop] = aiohttp.ClientSession(
            # Whoever asks bounds how many calls there are.
            connector=aiohttp.TCPConnector(limit=0, resolver=_Resolver(), keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,
        )
    return session


@lru_cache(maxsize=64)
def _plain_url(url: str) -> URL:
    return URL(url, encoded=True)


async def _tls_context(ca_certificates: str) -> ssl.SSLContext:
    context = _tls.get(ca_certificates)
    if context is None:
        # Reading the authorities of the system takes tens of milliseconds.
        context = await asyncio.wrap_future(_names.submit(tls_context, ca_certificates))
        _tls[ca_certificates] = context
    return context


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        cause = inner.verify_message if isinstance(inner, ssl.SSLCertVerificationError) else "it names another host"
        return f"has no certificate that is trusted here: {cause}"
    while isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    return f"cannot be reached: {_words(error)}"


def _words(error: BaseException) -> str:
    """The system's own, without what asyncio adds."""
    if isinstance(error, _NotLoopback):
        return str(error)
    if not isinstance(error, OSError) or error.errno is None:
        return type(error).__name__
    return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)  # below: of the name's look-up
