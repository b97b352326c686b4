"""Takes uploads, keeps nothing, and answers with how many bytes came: `python -m benchmarks.sink PORT`."""

from __future__ import annotations

import re
import socket
import sys
import threading

PIECE = 1 << 20


def serve(port: int) -> None:
    with socket.create_server(("127.0.0.1", port), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    buffer = bytearray(PIECE)
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (length := read_head(connection)) is not None:
            received = length[1]
            while received < length[0]:
                count = connection.recv_into(buffer, min(PIECE, length[0] - received))
                if not count:
                    return
                received += count
            body = b'{"received": %d}' % received
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)


def read_head(connection: socket.socket) -> tuple[int, int] | None:
    """How long the body will be and how much of it came along with the head; None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    if found is None and re.search(rb"(?im)^transfer-encoding:", head):
        connection.sendall(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return None
    return (int(found[1]) if found else 0), len(rest)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
