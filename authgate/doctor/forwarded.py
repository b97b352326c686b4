"""What the proxy in front says of a visitor: whether it says all, and nothing that the visitor has written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from django.conf import settings

from authgate.doctor.finding import Finding, error, ok, warning
from authgate.own_hosts import public_host, public_origin, public_port
from authgate.pages.reflection import Reflection

Ask = Callable[[Mapping[str, str]], Reflection | str]

_FOREIGN_ADDRESS = "192.0.2.66"  # of nobody (RFC 5737)
_FOREIGN_HOST = "doctor.invalid"
_FOREIGN_PORT = "6"


def judge(seen: Reflection, ask: Ask) -> Iterator[Finding]:
    yield _scheme(seen)
    yield _host(seen)
    if not seen.is_trusted:
        yield ok("client address", f"{seen.client}, which speaks for itself: it is not in AUTHGATE_TRUSTED_PROXIES")
        return
    yield _address(seen)
    yield from _forged(seen, ask)


def _scheme(seen: Reflection) -> Finding:
    wanted, said = public_origin().scheme, seen.forwarded.get("x-forwarded-proto")
    if seen.scheme == wanted:
        return ok("scheme", f"the gateway sees {wanted}")
    if not seen.is_trusted:
        return error(
            "scheme",
            f"the gateway sees {seen.scheme}: the connection comes from {seen.peer}, which is not trusted",
            f"Add {seen.peer} to AUTHGATE_TRUSTED_PROXIES if it is your proxy; else serve TLS here (--tls-cert).",
        )
    cause = "sends no X-Forwarded-Proto" if said is None else f"sends X-Forwarded-Proto: {said}"
    text = f"the gateway sees {seen.scheme}: the proxy at {seen.peer} {cause}"
    return error("scheme", text, f"Let it set X-Forwarded-Proto: {wanted} (docs/deployment.md).")


def _host(seen: Reflection) -> Finding:
    wanted = f"{public_host()}:{public_port()}"
    found = f"{seen.host}:{seen.port}"
    # A scheme that is wrong brings a port that is wrong.
    if seen.host == public_host() and (seen.port == public_port() or seen.scheme != public_origin().scheme):
        return ok("host", f"the gateway sees {seen.host}")
    text = f"the gateway sees {found} instead of {wanted}"
    return error("host", text, "Let the proxy keep Host, or set X-Forwarded-Host and X-Forwarded-Port to it.")


def _address(seen: Reflection) -> Finding:
    if b"x-forwarded-for" not in settings.AUTHGATE_FORWARDED_HEADERS:
        return ok("client address", "AUTHGATE_FORWARDED_HEADERS leaves it out: all visitors are one client")
    if seen.client != seen.peer or "x-forwarded-for" in seen.forwarded:
        return ok("client address", f"the gateway sees this machine as {seen.client}, by way of {seen.peer}")
    return error(
        "client address",
        f"the proxy at {seen.peer} sends no X-Forwarded-For: all visitors are one client, with one limit",
        "Let it set X-Forwarded-For to the client's address.",
    )


def _forged(seen: Reflection, ask: Ask) -> Iterator[Finding]:
    """A visitor's own forwarded headers, one at a time: a header that the gateway believes is the proxy's to set."""
    believed = [name for name, sent, is_believed in _attempts(seen) if is_believed(ask({name: sent}), sent)]
    if not believed:
        yield ok("forwarded headers", "the proxy lets no visitor write them")
    for name in believed:
        consequence, level = _CONSEQUENCES[name]
        text = f"the proxy passes on what the visitor writes there: {consequence}"
        yield level(name, text, f"Let it set or clear {name} (docs/deployment.md).")


_CONSEQUENCES = {
    "X-Forwarded-For": ("anybody chooses the address that logs and limits count", error),
    "X-Forwarded-Proto": ("anybody chooses the scheme of links and redirects", error),
    "X-Forwarded-Host": ("requests with it are refused", warning),
    "X-Forwarded-Port": ("requests with it are refused", warning),
}

Believed = Callable[[Reflection | str, str], bool]


def _attempts(seen: Reflection) -> Iterator[tuple[str, str, Believed]]:
    yield "X-Forwarded-For", _FOREIGN_ADDRESS, _is_last_hop
    yield "X-Forwarded-Proto", "http" if public_origin().scheme == "https" else "https", _is_scheme(seen.scheme)
    yield "X-Forwarded-Host", _FOREIGN_HOST, _is_refused
    yield "X-Forwarded-Port", _FOREIGN_PORT, _is_refused


def _is_last_hop(answer: Reflection | str, sent: str) -> bool:
    """The proxy has appended nothing. The address that counts would not do: this machine may be the proxy's own."""
    if isinstance(answer, str):
        return False
    return answer.forwarded.get("x-forwarded-for", "").rpartition(",")[2].strip() == sent


def _is_scheme(before: str) -> Believed:
    return lambda answer, sent: isinstance(answer, Reflection) and answer.scheme == sent != before


def _is_refused(answer: Reflection | str, sent: str) -> bool:
    return isinstance(answer, str) and ("bad_host" in answer or "bad_header" in answer)
