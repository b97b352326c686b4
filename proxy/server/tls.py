"""The TLS side of the server: TLS 1.2 and 1.3 only."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import NamedTuple

from proxy.server.listen import StartRefused

logger = logging.getLogger(__name__)


class TlsFiles(NamedTuple):
    cert: Path
    key: Path


def tls_files(cert: str | None, key: str | None) -> TlsFiles | None:
    """The pair that was named, or None. Raises StartRefused when it cannot be used."""
    if not cert and not key:
        return None
    if not cert or not key:
        raise StartRefused("--tls-cert and --tls-key belong together")
    files = TlsFiles(Path(cert), Path(key))
    build_context(files)
    if files.key.stat().st_mode & 0o007:
        logger.warning("--tls-key: %s is open to other users of this machine: chmod o= it", files.key)
    return files


def build_context(files: TlsFiles) -> ssl.SSLContext:
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


def _check_readable(option: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise StartRefused(f"{option}: cannot read {str(path)!r}: {error.strerror}") from error


def _cause(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return "not a certificate and its unencrypted key in PEM form"
