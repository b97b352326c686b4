"""HTTP to identity providers: bounded in time and size, to the named host only, over a proven connection."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from authgate.outbound.errors import ProviderError
from authgate.wire.authority import is_loopback

SECONDS = 10.0
CALLS_WHEN_SLOW = 4
SLOW_SECONDS = 30.0
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
_URL = re.compile(r"https?://[!-~]+")
_HEADERS = {"Accept": "application/json", "User-Agent": "authgate", "Accept-Encoding": "identity"}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class StillSlow(OSError):
    pass


class NotLoopback(OSError):
    """A name of this machine was resolved to an address of another one."""


class _Hosts:
    """A host that let a call run out of time gets few at once, so that it does not hold the threads of all others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._slow_until: dict[str, float] = {}

    @contextmanager
    def call(self, host: str) -> Iterator[None]:
        with self._lock:
            if self._calls[host] >= CALLS_WHEN_SLOW and time.monotonic() < self._slow_until.get(host, 0.0):
                raise StillSlow
            self._calls[host] += 1
        try:
            yield
            self._slow_until.pop(host, None)
        except TimeoutError:
            self._slow_until[host] = time.monotonic() + SLOW_SECONDS
            raise
        finally:
            with self._lock:
                self._calls -= Counter([host])  # keeps no zeros


_hosts = _Hosts()


class _Call:
    """One call's time, and its connections, so that the end of its time can cut them off."""

    def __init__(self) -> None:
        self.ends_at = time.monotonic() + SECONDS
        self._sockets: list[socket.socket] = []
        # A socket's own time-out begins again with each byte: a provider that dribbles is cut off from outside.
        self._timer = threading.Timer(SECONDS, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    def connect(self, host: str, port: int, *, only_loopback: bool = False) -> socket.socket:
        """To the first address that answers; of the time each gets its share. Raises OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if only_loopback and not all(is_loopback(str(address[0])) for *_, address in found):
            raise NotLoopback
        failure: OSError = TimeoutError()
        for number, (family, kind, protocol, _, address) in enumerate(found):
            share = (self.ends_at - time.monotonic()) / (len(found) - number)
            if share <= 0:
                raise TimeoutError
            try:
                return self._watched(_connected(socket.socket(family, kind, protocol), address, share))
            except OSError as error:
                if address[0] != host:
                    error.add_note(f"({address[0]})")
                failure = error
        raise failure

    def close(self) -> None:
        self._timer.cancel()
        for duplicate in self._sockets:
            duplicate.close()

    def _watched(self, connected: socket.socket) -> socket.socket:
        # A duplicate, because TLS takes the original's descriptor away; shutting it down ends both.
        self._sockets.append(connected.dup())
        if self.is_over():
            # Nothing is sent whose answer nobody waits for: it might use up a code or a refresh token.
            connected.close()
            raise TimeoutError
        connected.settimeout(SECONDS)  # what is left of the call's time is the timer's to end
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def _cut(self) -> None:
        for duplicate in list(self._sockets):
            with suppress(OSError):
                duplicate.shutdown(socket.SHUT_RDWR)


def _connected(connecting: socket.socket, address: Any, seconds: float) -> socket.socket:
    try:
        connecting.settimeout(seconds)
        connecting.connect(address)
    except OSError:
        connecting.close()
        raise
    return connecting


class _Current(threading.local):
    """The call that this thread makes."""

    call: _Call


_current = _Current()


def check_url(url: str, what: str) -> str:
    """Raises ProviderError unless `url` is https, or http to this machine itself."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not _URL.fullmatch(url) or "\\" in url or not host or "@" in parts.netloc or "#" in url:
        raise ProviderError("provider_unavailable", f"the {what} is not an absolute URL of a plain host")
    if parts.scheme != "https" and not is_loopback(host):
        raise ProviderError("provider_unavailable", f"the {what} is not https; plain http is for loopback only")
    return url


class BoundedSession(requests.Session):
    """Follows no redirect, trusts no environment, and ends in time."""

    def __init__(self, ca_certificates: str, *, plain_anywhere: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.trust_env = False
        self.headers.update(_HEADERS)
        self.adapters.clear()
        adapter = _Adapter(ca_certificates, _PlainPool if plain_anywhere else _Pool)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Read to its end. Raises OSError, HTTPError or TooLarge."""
        with _hosts.call(urlsplit(request.url or "").netloc):
            return self._send_in_time(request, **options)

    def _send_in_time(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        options |= {"stream": True, "allow_redirects": False, "timeout": SECONDS, "verify": True, "proxies": {}}
        call = _current.call = _Call()
        try:
            response = super().send(request, **options)
            response._content = _read(response, call)
            return response
        except (OSError, HTTPError):
            if time.monotonic() > call.ends_at - 0.1:  # cut off, which looks like any lost connection
                raise TimeoutError from None
            raise
        finally:
            call.close()


def get(url: str, what: str, *, ca_certificates: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """Raises ProviderError("provider_unavailable")."""
    return _ask("GET", url, what, ca_certificates, headers=headers)


def post(url: str, what: str, document: Any, *, ca_certificates: str, headers: Mapping[str, str]) -> Answer:
    """With JSON. Raises ProviderError("provider_unavailable")."""
    return _ask("POST", url, what, ca_certificates, headers=headers, json=document)


def look(url: str, what: str, headers: Mapping[str, str]) -> Answer:
    """As visitors do, so over plain http too: at an address of the gateway's own alone. Raises ProviderError."""
    return _send("GET", url, what, "", plain_anywhere=True, headers=headers)


def _ask(method: str, url: str, what: str, ca_certificates: str, **sent: Any) -> Answer:
    check_url(url, what)
    return _send(method, url, what, ca_certificates, **sent)


def _send(
    method: str, url: str, what: str, ca_certificates: str, *, plain_anywhere: bool = False, **sent: Any
) -> Answer:
    try:
        with BoundedSession(ca_certificates, plain_anywhere=plain_anywhere) as session:
            response = session.request(method, url, **sent)
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        raise unreachable(what, url, error) from None
    return Answer(response.status_code, response.headers, response.content)


def check_userinfo_status(what: str, status: int) -> None:
    """401 says that the access token is worth nothing (RFC 6750 3.1). Whatever else it is may pass."""
    if status != 200:
        raise ProviderError("userinfo_failed", f"the {what} answered with status {status}", is_final=status == 401)


def get_object(url: str, what: str, *, ca_certificates: str = "") -> dict[str, Any]:
    answer = get(url, what, ca_certificates=ca_certificates)
    if answer.status != 200:
        raise ProviderError("provider_unavailable", f"the {what} answered with status {answer.status}")
    return read_object(answer.body, what)


def read_object(body: bytes, what: str) -> dict[str, Any]:
    value = read_json(body, what)
    if not isinstance(value, dict):
        raise ProviderError("provider_unavailable", f"the {what} did not answer with a JSON object")
    return value


def read_json(body: bytes, what: str) -> Any:
    try:
        value = json.loads(body.decode("utf-8"))
        _check_depth(value, MAX_DEPTH)
    except (ValueError, RecursionError):
        raise ProviderError("provider_unavailable", f"the {what} did not answer with JSON") from None
    return value


def unreachable(what: str, url: str, error: Exception) -> ProviderError:
    """Host, port and cause. Not the rest of the address, which may hold a secret."""
    if isinstance(error, TooLarge):
        return ProviderError("provider_unavailable", f"the {what} sent more than {MAX_BYTES} bytes")
    if isinstance(error, StillSlow):
        return ProviderError("provider_unavailable", f"the {what} was too slow lately, and others wait for it")
    where = f"the {what} at {place_of(url)}"
    if isinstance(error, requests.exceptions.SSLError):
        untrusted = ProviderError(
            "provider_unavailable", f"{where} has no certificate that is trusted here: {_cause(error)}"
        )
        untrusted.is_untrusted = True
        return untrusted
    if isinstance(error, requests.Timeout | TimeoutError):
        said = f"{where} did not answer within {SECONDS:.0f} seconds"
    else:
        said = f"{where} cannot be reached: {_cause(error)}"
    return ProviderError("provider_unavailable", said)


def place_of(url: str) -> str:
    """Host and port: of an address that may hold a secret, what may be logged."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _cause(error: BaseException) -> str:
    """Of the error that the libraries have wrapped: the system's own words, and the address that was tried."""
    while inner := _inner(error):
        error = inner
    if isinstance(error, NotLoopback):
        return "a name of this machine was resolved to an address of another one"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    words = error.reason if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)
    return " ".join([str(words or type(error).__name__), *getattr(error, "__notes__", [])])


def _inner(error: BaseException) -> BaseException | None:
    found = (getattr(error, "reason", None), *error.args, error.__cause__)
    return next((inner for inner in found if isinstance(inner, BaseException)), None)


class TooLarge(ValueError):
    pass


def _read(response: requests.Response, call: _Call) -> bytes:
    # Not decompressed: a few bytes could become a gigabyte (urllib3 2.6.0). None was asked for.
    received = bytearray()
    with response:
        while chunk := response.raw.read1(65536, decode_content=False):
            received += chunk
            if len(received) > MAX_BYTES:
                raise TooLarge
            if call.is_over():
                raise TimeoutError
    if call.is_over():
        raise TimeoutError
    return bytes(received)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        # Plain http is for this machine alone, but not every resolver keeps names below localhost to itself.
        return _current.call.connect(self._dns_host, self.port, only_loopback=True)


class _PlainConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _current.call.connect(self._dns_host, self.port)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _current.call.connect(self._dns_host, self.port)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def __init__(self, ca_certificates: str, plain_pool: type[HTTPConnectionPool]) -> None:
        self._context = tls_context(ca_certificates)
        self._plain_pool = plain_pool
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": self._plain_pool, "https": _TlsPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context says whom to trust; the library's own list would be added to it."""
        conn.cert_reqs = "CERT_REQUIRED"


@lru_cache(maxsize=32)
def tls_context(ca_certificates: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca_certificates or None)
    except (ssl.SSLError, ValueError):
        raise ProviderError("provider_unavailable", "the provider's CA certificates are not PEM certificates") from None


def _check_depth(value: Any, allowed: int) -> None:
    if not isinstance(value, dict | list):
        return
    if not allowed:
        raise ValueError
    for inner in value.values() if isinstance(value, dict) else value:
        _check_depth(inner, allowed - 1)
