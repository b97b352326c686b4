"""What to answer for a file, given the request's conditions and range (RFC 9110 sections 13 and 14). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from django.utils.http import http_date, parse_http_date_safe
from whitenoise.media_types import MediaTypes

from authgate.wire.headers import RawHeaders

_MEDIA_TYPES = MediaTypes()
# One range only: an answer to many tiny or overlapping ones costs more than the file (CVE-2011-3192).
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TAG = re.compile(r'"[^"]*"')  # weak ones too: If-None-Match compares weakly


class FileFacts(NamedTuple):
    name: str
    size: int
    mtime_ns: int

    @property
    def etag(self) -> str:
        return f'"{self.mtime_ns:x}-{self.size:x}"'

    @property
    def mtime(self) -> int:
        return self.mtime_ns // 1_000_000_000


class FileAnswer(NamedTuple):
    status: int
    headers: RawHeaders
    offset: int = 0
    length: int = 0  # of the body, were the method GET


def build_answer(file: FileFacts, request_headers: RawHeaders, max_age: int) -> FileAnswer:
    headers = {name: value.decode("latin-1") for name, value in request_headers}
    common = _raw({
        "etag": file.etag,
        "last-modified": http_date(file.mtime),
        "cache-control": f"public, max-age={max_age}",
    })  # fmt: skip
    if _not_modified(file, headers):
        return FileAnswer(304, common)
    common += _raw({"content-type": content_type(file.name), "accept-ranges": "bytes"})
    return _ranged(file, _range_header(file, headers), common)


def content_type(name: str) -> str:
    """From a fixed table: the machine's own differs from host to host."""
    found: str = _MEDIA_TYPES.get_type(name)
    is_text = found.startswith("text/") or found in ("application/javascript", "application/json")
    return f"{found}; charset=utf-8" if is_text else found


def _not_modified(file: FileFacts, headers: dict[bytes, str]) -> bool:
    if (tags := headers.get(b"if-none-match")) is not None:
        return tags.strip() == "*" or file.etag in _TAG.findall(tags)
    since = parse_http_date_safe(headers.get(b"if-modified-since", ""))
    return since is not None and file.mtime <= since


def _range_header(file: FileFacts, headers: dict[bytes, str]) -> str:
    """Empty when a continued download would be glued to the beginning of another version (If-Range)."""
    condition = headers.get(b"if-range", file.etag).strip()
    unchanged = condition in (file.etag, http_date(file.mtime))
    return headers.get(b"range", "").strip() if unchanged else ""


def _ranged(file: FileFacts, range_header: str, headers: RawHeaders) -> FileAnswer:
    whole = FileAnswer(200, [*headers, *_raw({"content-length": str(file.size)})], 0, file.size)
    match = _ONE_RANGE.fullmatch(range_header)
    if match is None or match[0] == "bytes=-":
        return whole
    if not match[1]:
        first, last = max(0, file.size - int(match[2])), file.size - 1
    else:
        first, last = int(match[1]), min(int(match[2] or file.size - 1), file.size - 1)
        if match[2] and int(match[2]) < first:
            return whole
    if first > last:
        return FileAnswer(416, _raw({"content-range": f"bytes */{file.size}", "content-length": "0"}))
    length = last - first + 1
    part = {"content-range": f"bytes {first}-{last}/{file.size}", "content-length": str(length)}
    return FileAnswer(206, [*headers, *_raw(part)], first, length)


def _raw(headers: dict[str, str]) -> RawHeaders:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
