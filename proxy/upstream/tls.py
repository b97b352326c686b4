"""TLS to upstreams: one context for each set of settings, made anew when one of its files has changed."""

from __future__ import annotations

import os
import ssl

from authgate.bounded import Bounded
from authgate.policy.schema import UpstreamTls
from proxy.upstream.targets import UpstreamUnreachable

_MOST = 1024
_VERSIONS = {"": ssl.TLSVersion.TLSv1_2, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_Stamp = tuple[int, int, int]
_contexts: Bounded[UpstreamTls, tuple[tuple[_Stamp, ...], ssl.SSLContext]] = Bounded(_MOST)


def context_of(tls: UpstreamTls) -> ssl.SSLContext:
    """Raises UpstreamUnreachable, which names the file at fault."""
    stamps = tuple([_stamp(field, path) for field, path in _files(tls)])
    known = _contexts.get(tls)
    if known is not None and known[0] == stamps:
        return known[1]
    context = _make(tls)
    _contexts.put(tls, (stamps, context))
    return context


def _files(tls: UpstreamTls) -> list[tuple[str, str]]:
    fields = ("ca_file", "client_cert_file", "client_key_file")
    return [(field, getattr(tls, field)) for field in fields if getattr(tls, field)]


def _stamp(field: str, path: str) -> _Stamp:
    try:
        found = os.stat(path)
    except OSError as error:
        raise UpstreamUnreachable(f"tls.{field} {path}: {error.strerror}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _make(tls: UpstreamTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
    except OSError as error:
        raise UpstreamUnreachable(f"tls.ca_file {tls.ca_file}: {_words(error)}") from error
    context.set_alpn_protocols(["http/1.1"])
    context.minimum_version = _VERSIONS[tls.min_version]
    if tls.client_cert_file:
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.client_cert_file, tls.client_key_file, password=lambda: "")
        except (OSError, ValueError) as error:
            where = f"tls.client_cert_file {tls.client_cert_file} with client_key_file {tls.client_key_file}"
            raise UpstreamUnreachable(f"{where}: {_words(error)}") from error
    return context


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not what it should be, in PEM ({error.reason or error})"
    return getattr(error, "strerror", None) or str(error)
