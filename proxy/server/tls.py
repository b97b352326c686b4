"""The TLS side of the server: TLS 1.2 and 1.3 only, and each host's own certificate."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from proxy.server.listen import StartRefused

logger = logging.getLogger(__name__)


class TlsFiles(NamedTuple):
    cert: Path
    key: Path


def tls_files(certs: Sequence[str], keys: Sequence[str]) -> tuple[TlsFiles, ...]:
    """The pairs that were named, in their order. Raises StartRefused when one cannot be used."""
    if len(certs) != len(keys):
        raise StartRefused("--tls-cert and --tls-key belong together: one key for each certificate, in the same order")
    files = tuple(TlsFiles(Path(cert), Path(key)) for cert, key in zip(certs, keys, strict=True))
    if files:
        Certificates(files)
    for _, key in files:
        if key.stat().st_mode & 0o007:
            logger.warning("--tls-key: %s is open to other users of this machine: chmod o= it", key)
    return files


class _Loaded(NamedTuple):
    context: ssl.SSLContext
    names: list[str]


class Certificates:
    """Those of the files, each as it was when it was last read and could be used."""

    def __init__(self, files: tuple[TlsFiles, ...]) -> None:
        """Raises StartRefused."""
        self._files = files
        self._read, self._seen = _stamps(files), _stamps(files)
        self._loaded = [_load(pair, is_alone=len(files) == 1) for pair in files]
        self._by_name = _by_name(self._loaded)
        # Its own certificate is never sent: for each client, also for one that names no host, another one takes its
        # place, which can be a new one at any time.
        self.context = _context(files[0])
        self.context.sni_callback = self._choose

    def read(self) -> None:
        """Again. Raises StartRefused for those that cannot be used and so stay as they are: the others are renewed all
        the same, or one that nobody needs any more would let all of them expire.
        """
        self._read, problems = _stamps(self._files), []
        for number, pair in enumerate(self._files):
            try:
                self._loaded[number] = _load(pair, is_alone=len(self._files) == 1)
            except StartRefused as problem:
                problems.append(str(problem))
        self._by_name = _by_name(self._loaded)
        if problems:
            raise StartRefused("; ".join(problems))

    def read_if_changed(self) -> None:
        """Called every few seconds. Files that changed since the last time wait: others may be about to change too."""
        before, self._seen = self._seen, _stamps(self._files)
        if self._seen == self._read or self._seen != before:
            return
        try:
            self.read()
            logger.info("certificates were read again")
        except StartRefused as problem:
            logger.error("keeping the certificate in use: %s", problem)

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        host = (name or "").lower().removesuffix(".")
        wildcard = f"*.{host.partition('.')[2]}"
        connection.context = self._by_name.get(host) or self._by_name.get(wildcard) or self._loaded[0].context


def _load(pair: TlsFiles, *, is_alone: bool) -> _Loaded:
    """Raises StartRefused."""
    context, names = _context(pair), _check(pair.cert)
    if not names and not is_alone:
        raise StartRefused(f"--tls-cert {pair.cert}: names no host (subjectAltName), so no client would get it")
    return _Loaded(context, names)


def _by_name(loaded: Sequence[_Loaded]) -> dict[str, ssl.SSLContext]:
    """The first certificate that has a name keeps it."""
    contexts: dict[str, ssl.SSLContext] = {}
    for context, names in loaded:
        for name in names:
            contexts.setdefault(name, context)
    return contexts


def _context(files: TlsFiles) -> ssl.SSLContext:
    _check_readable("--tls-cert", files.cert)
    _check_readable("--tls-key", files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An encrypted key would make OpenSSL ask at the terminal; a server has nobody who answers.
        context.load_cert_chain(files.cert, files.key, password=lambda: "")
    except ssl.SSLError as error:
        raise StartRefused(f"--tls-cert {files.cert}, --tls-key {files.key}: {_cause(error)}") from error
    return context


def _check(cert: Path) -> list[str]:
    """The hosts that it names. Raises StartRefused."""
    try:
        leaf = x509.load_pem_x509_certificates(cert.read_bytes())[0]
        if leaf.not_valid_after_utc <= datetime.now(UTC):
            raise StartRefused(f"--tls-cert {cert}: expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
        with suppress(x509.ExtensionNotFound):
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except (OSError, ValueError) as error:
        raise StartRefused(f"--tls-cert {cert}: cannot be read as a certificate: {error}") from error
    return []


def _stamps(files: tuple[TlsFiles, ...]) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file, or what a link leads to, does."""
    return tuple(_stamp(path) for pair in files for path in pair)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _check_readable(option: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise StartRefused(f"{option}: cannot read {str(path)!r}: {error.strerror}") from error


def _cause(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return "not a certificate and its unencrypted key in PEM form"
