"""Places in responses where the service's paths begin otherwise than the visitor's, or its host is another one."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest

from proxy.headers import request_head
from tests.proxy.test_headers import NOBODY, OWN, TRACE
from tests.proxy.test_places import entry, rewritten, visit

BOTH = entry(strip_prefix=True, add_prefix="/v2")
ADDED = entry(path="/", add_prefix="/v2")
HOSTED = entry(upstream_host="wiki.internal:8080")


def target(by, path):
    return request_head(visit(path), by, "up.test", 0, NOBODY, "r1", TRACE, OWN).split(b" ", 2)[1].decode()


@pytest.mark.parametrize(
    ("by", "path", "sent"),
    [(BOTH, "/app", "/v2/"), (BOTH, "/app/", "/v2/"), (BOTH, "/app/x", "/v2/x"), (ADDED, "/", "/v2/"),
     (ADDED, "/x", "/v2/x"), (entry(add_prefix="/v2"), "/app/x", "/v2/app/x")],
)  # fmt: skip
def test_what_the_service_receives(by, path, sent):
    assert target(by, path) == sent


@pytest.mark.parametrize(
    ("said", "got"),
    [
        ("/v2/login", "/app/login"), ("/v2/", "/app/"), ("/v2", "/app/"), ("/v2x", "/app/v2x"),
        ("/elsewhere", "/app/elsewhere"), ("/auth/login", "/app/auth/login"), ("/app/x", "/app/x"),
        ("login", "/app/a/login"), ("../login", "/app/login"), ("../../login", "/app/login"),
        ("../../../../auth", "/app/auth"),
        ("/v2/../auth/login", "/app/auth/login"), ("/v2/%2e%2e/auth", "/app/auth"), ("\\v2\\x", "/app/x"),
        ("http://10.0.0.5:8080/v2/x?y#z", "https://gw.test/app/x?y#z"), ("https://gw.test/v2/x", "https://gw.test/app/x"),
        ("https://other.test/v2/x", "https://other.test/v2/x"), ("//evil.test/v2", "//evil.test/v2"),
    ],
)  # fmt: skip
def test_a_place_of_a_service_with_both(said, got):
    assert rewritten(said, BOTH) == got


@pytest.mark.parametrize(
    ("said", "got"),
    [("/v2/login", "/login"), ("/v2", "/"), ("/v2?x", "/?x"), ("/other", "/other"), ("login", "/app/a/login"),
     ("http://10.0.0.5:8080/v2/x", "https://gw.test/x")],
)  # fmt: skip
def test_a_place_of_a_service_with_a_prefix_of_its_own(said, got):
    assert rewritten(said, ADDED) == got


@pytest.mark.parametrize("by", [ADDED, entry(add_prefix="/v2"), BOTH], ids=["added", "below", "both"])
@pytest.mark.parametrize("before", ["", "0; url="], ids=["location", "refresh"])
@pytest.mark.parametrize(
    "said",
    ["/v2//evil.test/x", "/v2/\\evil.test", "/v2/..//evil.test", "../../..//evil.test", "/v2/.//evil.test",
     "/v2///evil.test", "/v2/%2e//evil.test", "\\v2\\\\evil.test", "/v2/\t/evil.test", "/..//evil.test"],
)  # fmt: skip
def test_no_path_becomes_a_host_when_a_prefix_is_taken_off(by, before, said):
    got = rewritten(before + said, by, name="refresh" if before else "location").removeprefix(before)
    assert (urlsplit(urljoin("https://gw.test/app/a/b", got))[:2]) == ("https", "gw.test")
    assert not got.startswith("//")


@pytest.mark.parametrize(
    ("by", "said", "got"),
    [
        (BOTH, "a=b; Path=/v2", "a=b; Path=/app"), (BOTH, "a=b; Path=/v2/x; Secure", "a=b; Path=/app/x; Secure"),
        (BOTH, "a=b; Path=/", "a=b; Path=/app"), (BOTH, "a=b; Path=/other", "a=b; Path=/app/other"),
        (BOTH, "__Host-a=b; Path=/", "__Host-a=b; Path=/"), (ADDED, "a=b; Path=/v2", "a=b; Path=/"),
        (ADDED, "a=b; Path=/v2/x", "a=b; Path=/x"), (ADDED, "a=b; Path=/", "a=b; Path=/"),
        (HOSTED, "a=b; Domain=wiki.internal", "a=b"), (HOSTED, "a=b; Domain=.INTERNAL; Path=/", "a=b; Path=/"),
        (HOSTED, "a=b; Domain=ki.internal", "a=b; Domain=ki.internal"), (HOSTED, "a=b; Domain=", "a=b; Domain="),
        (HOSTED, "a=b; Domain=test", "a=b; Domain=test"),
        (entry("http://up.test"), "a=b; Domain=test", "a=b; Domain=test"),
        (HOSTED, "a=b; Domain=evil.test", "a=b; Domain=evil.test"),
    ],
)  # fmt: skip
def test_a_cookie(by, said, got):
    assert rewritten(said, by, name="set-cookie") == got


def test_a_cookie_for_the_directory_of_the_prefix_itself():
    assert rewritten("a=b", BOTH, visit("/app"), "set-cookie") == "a=b; Path=/app"


@pytest.mark.parametrize(
    ("said", "got"),
    [("http://wiki.internal:8080/x", "https://gw.test/x"), ("https://wiki.internal:8080/x", "https://gw.test/x"),
     ("http://wiki.internal/x", "http://wiki.internal/x"), ("//wiki.internal:8080/x", "https://gw.test/x"),
     ("http://10.0.0.5:8080/x", "https://gw.test/x"), ("/x", "/x")],
)  # fmt: skip
def test_a_host_of_the_service(said, got):
    assert rewritten(said, HOSTED) == got
    assert rewritten(f"0; url={said}", HOSTED, name="refresh") == f"0; url={got}"


def test_the_service_is_asked_by_its_host():
    assert b"\r\nhost: wiki.internal:8080\r\n" in request_head(visit(), HOSTED, "up.test", 0, NOBODY, "r1", TRACE, OWN)
