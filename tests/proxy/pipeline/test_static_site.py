from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from django.utils.http import http_date

from proxy.pipeline.static_site import CHUNK, StaticSite, django_static_roots


class Answer:
    def __init__(self, messages):
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.bodies = [message.get("body", b"") for message in messages[1:]]
        self.body = b"".join(self.bodies)
        self.finished = not messages[-1].get("more_body", False)


async def _request(site, path, method="GET", query=b"", receive=None, **headers):
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query, "state": {},
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    messages = []

    async def send(message):
        messages.append(message)

    async def never():
        await asyncio.Event().wait()

    await site(scope, receive or never, send)
    return Answer(messages)


def get(site, path, method="GET", query=b"", **headers):
    return asyncio.run(_request(site, path, method, query, **headers))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "site"
    for name, content in {
        "index.html": "<h1>home</h1>", "a b.txt": "spaced", "data.bin": "0123456789", "café.txt": "x",
        "docs/index.html": "docs", "empty/file.txt": "x", ".git/config": "hidden", ".env": "hidden",
        ".well-known/security.txt": "contact", "nothing.txt": "", "app.js": "1", "a.woff2": "font",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (tmp_path / "outside.txt").write_text("outside")
    (tmp_path / "site-sibling").mkdir()
    (tmp_path / "site-sibling" / "x.txt").write_text("outside")
    (root / "out.txt").symlink_to(tmp_path / "outside.txt")
    (root / "outdir").symlink_to(tmp_path)
    (root / "sibling").symlink_to(tmp_path / "site-sibling")
    (root / "to-hidden.txt").symlink_to(root / ".env")
    (root / "inside.txt").symlink_to(root / "data.bin")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def site(root):
    return StaticSite(root)


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/", b"<h1>home</h1>", "text/html; charset=utf-8"),
        ("/index.html", b"<h1>home</h1>", "text/html; charset=utf-8"),
        ("/docs/", b"docs", "text/html; charset=utf-8"),
        ("/a%20b.txt", b"spaced", "text/plain; charset=utf-8"),
        ("/caf%C3%A9.txt", b"x", "text/plain; charset=utf-8"),
        ("/app.js", b"1", "text/javascript; charset=utf-8"),
        ("/a.woff2", b"font", "font/woff2"),
        ("/data.bin", b"0123456789", "application/octet-stream"),
        ("/inside.txt", b"0123456789", "application/octet-stream"),
        ("/nothing.txt", b"", "text/plain; charset=utf-8"),
        ("/.well-known/security.txt", b"contact", "text/plain; charset=utf-8"),
    ],
)
def test_a_file_is_served_with_its_type(site, path, body, content_type):
    answer = get(site, path)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, body, content_type)
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/missing", "/../outside.txt", "/%2e%2e/outside.txt", "/docs/../../outside.txt", "/..%2foutside.txt",
        "/out.txt", "/outdir/outside.txt", "/sibling/x.txt", "/outdir/", "/outdir", "/to-hidden.txt", "/loop",
        "/.env", "/.git/config", "/docs/../.env", "/%2eenv", "/pipe", "/a%00b", "/index.html%00", "/index.html/",
        "/empty", "/empty/", "//", "//index.html", "/docs//", "/docs/index.html/x", "/" + "x" * 300,
        "/site-sibling/x.txt", "/%252e%252e/outside.txt", "/.", "/..", "/.well-known/../.env",
    ],
)  # fmt: skip
def test_what_is_no_file_of_the_site_is_not_found(site, path):
    answer = get(site, path)
    assert answer.status == 404
    assert b"outside" not in answer.body
    assert b"hidden" not in answer.body


def test_a_directory_redirects_to_its_path_with_a_slash_and_keeps_the_query(site):
    answer = get(site, "/docs", query=b"a=//evil.test")
    assert (answer.status, answer.headers["location"]) == (302, "/docs/?a=//evil.test")


def test_a_file_added_later_is_served(site, root):
    assert get(site, "/later.txt").status == 404
    (root / "later.txt").write_text("now")
    assert get(site, "/later.txt").body == b"now"


def test_a_root_that_is_a_link_to_the_current_release_is_followed_at_each_request(tmp_path):
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "index.html").write_text(release)
    (tmp_path / "current").symlink_to("one")
    site = StaticSite(tmp_path / "current")
    assert get(site, "/").body == b"one"
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("two")
    assert get(site, "/").body == b"two"


def test_head_has_the_headers_and_no_body(site):
    answer = get(site, "/data.bin", "HEAD", range="bytes=1-2")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "10", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(site, method):
    answer = get(site, "/data.bin", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', '"x",W/{}', "*"])
def test_a_matching_etag_is_not_modified(site, form):
    etag = get(site, "/data.bin").headers["etag"]
    answer = get(site, "/data.bin", if_none_match=form.format(etag))
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)


def test_an_etag_that_differs_wins_over_a_date_that_matches(site):
    date = get(site, "/data.bin").headers["last-modified"]
    assert get(site, "/data.bin", if_none_match='"x"', if_modified_since=date).status == 200


@pytest.mark.parametrize(("offset", "status"), [(0, 304), (60, 304), (-60, 200)])
def test_a_date_is_compared(site, root, offset, status):
    date = http_date((root / "data.bin").stat().st_mtime + offset)
    assert get(site, "/data.bin", if_modified_since=date).status == status


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 32 Jan 2020 00:00:00 GMT"])
def test_a_date_that_is_none_is_ignored(site, date):
    assert get(site, "/data.bin", if_modified_since=date).status == 200


def test_another_content_has_another_etag(site, root):
    before = get(site, "/data.bin").headers["etag"]
    (root / "data.bin").write_text("9876543210")
    assert get(site, "/data.bin").headers["etag"] != before


@pytest.mark.parametrize(
    ("value", "body", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ("bytes=5-999999999999999999", b"56789", "bytes 5-9/10"),
    ],
)
def test_one_range_is_served_alone(site, value, body, content_range):
    answer = get(site, "/data.bin", range=value)
    assert (answer.status, answer.body, answer.headers["content-range"]) == (206, body, content_range)
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_is_416(site, value):
    answer = get(site, "/data.bin", range=value)
    assert (answer.status, answer.body, answer.headers["content-range"]) == (416, b"", "bytes */10")


@pytest.mark.parametrize(
    "value", ["bytes=0-1,3-4", "bytes=4-2", "bytes=-", "bytes=", "lines=0-1", "bytes=+1-2", "bytes=1_0-", "x" * 5000]
)
def test_any_other_range_is_ignored(site, value):
    assert (get(site, "/data.bin", range=value).status, get(site, "/data.bin").body) == (200, b"0123456789")


def test_a_continued_download_of_a_changed_file_starts_again(site):
    etag = get(site, "/data.bin").headers["etag"]
    assert get(site, "/data.bin", range="bytes=5-", if_range=etag).status == 206
    assert get(site, "/data.bin", range="bytes=5-", if_range='"older"').status == 200


def test_a_big_file_is_sent_in_pieces_and_whole(site, root):
    content = os.urandom(3 * CHUNK + 17)
    (root / "big").write_bytes(content)
    answer = get(site, "/big")
    assert answer.body == content
    assert max(map(len, answer.bodies)) <= CHUNK


def test_reading_stops_when_the_client_has_left(site, root):
    with (root / "huge").open("wb") as file:
        file.truncate(200 * CHUNK)

    async def gone():
        return {"type": "http.disconnect"}

    answer = asyncio.run(_request(site, "/huge", receive=gone))
    assert len(answer.body) < 5 * CHUNK


def test_a_file_cut_short_while_it_is_sent_leaves_the_response_unfinished(site, root):
    path = root / "shrinking"
    path.write_bytes(b"x" * (2 * CHUNK))
    messages = []

    async def run():
        async def send(message):
            if message["type"] == "http.response.start":
                os.truncate(path, CHUNK)
            messages.append(message)

        scope = {"method": "GET", "path": "/shrinking", "query_string": b"", "headers": []}
        await site(scope, asyncio.Event().wait, send)

    asyncio.run(run())
    assert not Answer(messages).finished


def test_the_first_of_several_roots_that_has_the_file_serves_it(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
        (tmp_path / name / "both.txt").write_text(name)
    site = StaticSite(tmp_path / "one", tmp_path / "two", prefix="/static/")
    assert [get(site, f"/static/{name}.txt").body for name in ("one", "two", "both")] == [b"one", b"two", b"one"]


@pytest.mark.parametrize("path", ["/static/authgate/site.css", "/static/admin/css/base.css"])
def test_the_assets_of_our_own_pages_need_no_collecting(path):
    site = StaticSite(*django_static_roots(), prefix="/static/")
    assert get(site, path).headers["content-type"] == "text/css; charset=utf-8"


def test_another_application_answers_for_what_is_not_found(root: Path):
    async def teapot(scope, receive, send):
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert get(StaticSite(root, not_found=teapot), "/missing").status == 418
