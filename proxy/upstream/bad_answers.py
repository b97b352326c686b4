"""What is wrong with an upstream's response, in words for the log.

Never a value or a byte of what the service sent: it may hold secrets. Names of headers may be told.
"""

from __future__ import annotations

import re
import ssl

# What llhttp says, by how it begins.
_PARSER_WORDS = {
    "Unexpected whitespace after header value": "folded over several lines (obs-fold)",
    "Unexpected space after start line": "white space before the first header",
    "Expected HTTP/": "it does not begin with HTTP/: another protocol, or bytes left over from another response",
    "Invalid HTTP version": "an unknown HTTP version",
    "Invalid status code": "a bad status line: the status is no number of three digits",
    "Invalid response status": "a bad status line: the status is no number of three digits",
    "Missing expected": "a line that does not end with CR LF",
    "Invalid header token": "a header line without a colon, or a name with characters that no name may have",
    "Invalid header field char": "white space between the name of a header and its colon",
    "Invalid header value char": "a control character in a header",
    "Invalid character in Content-Length": "a Content-Length that is no number",
    "Empty Content-Length": "an empty Content-Length",
    "Duplicate Content-Length": "two Content-Length headers",
    "Content-Length overflow": "a Content-Length that is too large",
    "Transfer-Encoding can't": "both Transfer-Encoding and Content-Length",
    "Content-Length can't": "both Transfer-Encoding and Content-Length",
    "Empty Transfer-Encoding": "an empty Transfer-Encoding",
    "Expected LF after chunk data": "a bad chunk: longer than its size says",
    "Invalid character in chunk size": "a bad chunk: its size is no hexadecimal number",
    "Chunk size overflow": "a bad chunk: its size is too large",
    "Invalid character in chunk": "a bad chunk: its extension is malformed",
}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")


def parser_words(message: str, data: bytes, *, in_head: bool) -> str:
    """What the parser's message means; `data` is the piece that it did not like."""
    if in_head and data.startswith(_TLS_RECORDS):
        return "it speaks TLS: the target should begin with https://"
    words = next((ours for theirs, ours in _PARSER_WORDS.items() if message.startswith(theirs)), None)
    if words is None:
        return f"no valid HTTP ({message})"
    if not in_head:
        return words if "chunk" in words else f"within the body or its trailers: {words}"
    name = _header_at_fault(data)
    return f"header {name}: {words}" if name else words


def _header_at_fault(data: bytes) -> str:
    """The first header that is folded or has a control character, if `data` is a head from its beginning."""
    if not data.startswith(b"HTTP/"):
        return ""  # what stands before a colon may be a piece of a value
    before = b""
    for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, colon, _ = line.partition(b":")
        if line[:1] in (b" ", b"\t"):
            name = before
        elif not colon:
            return ""  # a piece of a value, or no header at all
        if name is before or _CONTROL.search(line):
            return name.decode("ascii") if _NAME.fullmatch(name) else ""
        before = name
    return ""


def ending_words(error: Exception | None, *, when: str) -> str:
    """How a connection ended before its response did."""
    if error is None:
        return f"closed the connection {when}"
    if isinstance(error, ConnectionResetError):
        return f"reset the connection {when}"
    return f"lost the connection {when}: {cause_words(error)}"


def connect_words(error: OSError, seconds: float) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return f"no connection within {seconds:g} s (timeouts.connect)"
    return cause_words(error)


def cause_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
