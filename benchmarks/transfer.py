"""One big body over one connection, timed, and checked to have come whole."""

from __future__ import annotations

import json
import socket
import ssl
import time
from urllib.parse import urlsplit

PIECE = 1 << 18
TIMEOUT = 60


class TransferFailed(RuntimeError):
    """What came is not what was sent."""


def download(url: str, token: str, expected: int) -> float:
    """Bytes per second."""
    begin = time.monotonic()
    with _connect(url) as connection:
        connection.sendall(_head("GET", url, token))
        status, length, rest = _read_head(connection)
        received, buffer = len(rest), bytearray(PIECE)
        while received < length and (count := connection.recv_into(buffer)):
            received += count
    if status != 200 or received != expected:
        raise TransferFailed(f"status {status}, {received} of {expected} bytes came")
    return expected / (time.monotonic() - begin)


def upload(url: str, token: str, size: int) -> float:
    """Bytes per second."""
    begin, piece = time.monotonic(), memoryview(bytes(PIECE))
    with _connect(url) as connection:
        connection.sendall(_head("POST", url, token, size))
        for offset in range(0, size, PIECE):
            connection.sendall(piece[: size - offset])
        status, length, body = _read_head(connection)
        while len(body) < length and (more := connection.recv(PIECE)):
            body += more
    if status != 200 or json.loads(body) != {"received": size}:
        raise TransferFailed(f"status {status}, answer {body[:100]!r}")
    return size / (time.monotonic() - begin)


def status_of(url: str, token: str) -> int:
    with _connect(url) as connection:
        connection.sendall(_head("GET", url, token))
        return _read_head(connection)[0]


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _trusting().wrap_socket(connection) if parts.scheme == "https" else connection


def _trusting() -> ssl.SSLContext:
    """Takes any certificate, like the load generator."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _head(method: str, url: str, token: str, size: int | None = None) -> bytes:
    parts = urlsplit(url)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Content-Length: {size}", "Content-Type: application/octet-stream"] if size is not None else []
    return "\r\n".join([*lines, "", ""]).encode()


def _read_head(connection: socket.socket) -> tuple[int, int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise TransferFailed(f"closed after {data[:100]!r}")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    # Chunked bodies only of small answers whose length nobody asks for here.
    return int(first.split()[1]), int(headers.get("content-length", 0)), rest
