"""Requests whose extent is in doubt, for the server by itself and for a whole gateway."""

from __future__ import annotations

TARGET = b"/api/public/x"  # the demo policy lets anybody come here
HOST = b"Host: localhost\r\n"


def post(headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST " + TARGET + b" HTTP/" + version + b"\r\n" + HOST + headers + b"\r\n" + body


def sized(value: bytes) -> bytes:
    return post(b"Content-Length: " + value + b"\r\n", b"hello")


def coded(value: bytes) -> bytes:
    return post(b"Transfer-Encoding: " + value + b"\r\n", b"5\r\nhello\r\n0\r\n\r\n")


def in_chunks(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


DOUBTFUL_HEADS = {
    # gunicorn CVE-2024-6827
    "length and coding": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "coding and length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
    "two lengths, the second zero": post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello"),
    # Puma CVE-2019-16785
    "the same length twice": post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    "length zero twice": post(b"Content-Length: 0\r\nContent-Length: 0\r\n"),
    **{
        f"length {value!r}": sized(value)
        for value in (
            b"5, 5", b"5,5", b"+5", b"-0", b"-5", b"0x5", b"0_1", b"5 1", b"", b" ", b"010", b"00", b"5;", b"5.0",
            b"1" + b"0" * 30, b"18446744073709551621", b"five", b"\x0b5", b"5\x0c", b"\xb25", b"5\xa0", b'"5"',
        )
    },
    **{
        f"coding {value!r}": coded(value)
        for value in (
            b"chunked, identity", b"identity, chunked", b"gzip, chunked", b",chunked", b"chunked,", b"xchunked",
            b"chunked\x0b", b"\xa0chunked", b"identity", b"gzip", b"", b"chunked;q=1", b'"chunked"',
            b"chunked, chunked",
        )
    },
    "coding twice": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    # gunicorn CVE-2024-1135
    "two codings": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b"0\r\n\r\n"),
    "coding on HTTP/1.0": post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"),
    "folded coding": post(b"Transfer-\r\n Encoding: chunked\r\n", b"0\r\n\r\n"),
    "folded length": post(b"Content-Length:\r\n 5\r\n", b"hello"),
    "folded value": post(b"X: a\r\n b\r\n"),
    "fold with a tab": post(b"X: a\r\n\tb\r\n"),
    "space before the colon": post(b"Content-Length : 5\r\n", b"hello"),
    "tab before the colon": post(b"Content-Length\t: 5\r\n", b"hello"),
    "tab before the colon of a coding": post(b"Transfer-Encoding\t: chunked\r\n", b"0\r\n\r\n"),
    "space in a name": post(b"X-Auth User-ID: a\r\n"),
    "line without colon": post(b"Content-Length\r\n"),
    "empty name": post(b": x\r\n"),
    "NUL in a value": post(b"X: a\0b\r\n"),
    "NUL in a name": post(b"X\0: a\r\n"),
    "CR in a value": post(b"X: a\rContent-Length: 5\r\n"),
    "LF in a value": post(b"X: a\nContent-Length: 5\r\n"),
    "vertical tab in a value": post(b"X: a\x0bb\r\n"),
    "DEL in a value": post(b"X: a\x7fb\r\n"),
    "NEL in a name": post(b"X\x85: a\r\n"),
    "a name in quotes": post(b'"X": a\r\n'),
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare CR after the request line": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "CR CR LF": b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "first header indented": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "space before the method": b" GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "two empty lines first": b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n",
    "space after the version": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "tab as separator": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 with a host": b"GET /\r\n" + HOST + b"\r\n",
    "no version": b"GET / \r\n" + HOST + b"\r\n",
    "version in lower case": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "RTSP": b"OPTIONS / RTSP/1.0\r\n" + HOST + b"\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
}  # fmt: skip

OTHER_VERSIONS = {
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "0.9 spelled out": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "3": b"GET / HTTP/3\r\n" + HOST + b"\r\n",
}

BROKEN_CHUNKS = {
    f"chunked {body!r}"[:60]: body
    for body in (
        b"0_2e\r\n", b"-5\r\nhello\r\n", b"+5\r\nhello\r\n", b" 5\r\nhello\r\n", b"5 \r\nhello\r\n",
        b"5 ;a\r\nhello\r\n",
        b"0x5\r\nhello\r\n", b"\r\nhello\r\n", b"g\r\n", b"5\nhello\r\n", b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\r\nhello\rX",
        b"10000000000000005\r\nhello\r\n", b"fffffffffffffffff\r\n", b"5;a=\rb\r\nhello\r\n", b"5;a=\0\r\nhello\r\n",
        b"5;" + b"a" * 300 + b"\r\nhello\r\n", b"5" * 300, b"5;a\xff\r\nhello\r\n",
        b"5;" + b"x" * 20_000 + b"\r\nhello\r\n",
        b"0\r\nno colon\r\n\r\n", b"0\r\nX : a\r\n\r\n", b"0\r\n folded\r\n\r\n", b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\nX: a\rb\r\n\r\n", b"0\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"0\r\n" + b"X: aaaaaaaaa\r\n" * 800,
        b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 400,
    )
}  # fmt: skip
