"""What one client may take of a worker: bytes, lines, seconds, connections."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    target_bytes: int = 8 * 1024
    header_line_bytes: int = 16 * 1024
    headers_bytes: int = 64 * 1024
    header_count: int = 100
    trailer_bytes: int = 8 * 1024
    chunk_line_bytes: int = 256  # the size of a chunk and its extensions, which nobody uses
    chunk_extension_bytes: int = 16 * 1024  # of all chunks together
    head_seconds: float = 10.0  # from the first byte of a head (a new connection: from the start) to its end
    # Longer than the usual 60 s of a load balancer in front, so that the load balancer closes first.
    idle_seconds: float = 75.0
    body_seconds: float = 30.0  # without a byte of an expected body
    write_seconds: float = 60.0  # without the client taking a byte of the response
    connections: int = 10_000  # of one worker
    requests: int = 10_000  # at work in one worker
    drain_seconds: float = 30.0  # for requests in flight after TERM or HUP
    # A kept connection may carry a request at the moment of TERM: it is answered, with "Connection: close".
    drain_idle_seconds: float = 1.0

    # After an answer the rest of what the client is sending is read and dropped, for so long: it may not look at the
    # answer before it has sent all, and when we close or reset under it, never (RFC 9112 9.6).
    linger_bytes: int = 16 * 1024 * 1024
    linger_seconds: float = 30.0
    linger_silence_seconds: float = 5.0  # without a byte


# Bytes of pipelined requests kept before reading pauses; what has just been read (proxy/buffers.py) comes on top.
HIGH_WATER = 32 * 1024
