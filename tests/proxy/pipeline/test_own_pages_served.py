"""The gateway's own pages and static sites, as they come out of a running gateway."""

from __future__ import annotations

import os

import pytest

HTML = (("Accept", "text/html"),)


@pytest.fixture(scope="module")
def site_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("site") / "public"
    (root / "docs").mkdir(parents=True)
    (root / "index.html").write_text("<h1>the site</h1>")
    (root / "docs" / "index.html").write_text("docs")
    (root / "a b.txt").write_text("spaced")
    (root / "big.bin").write_bytes(os.urandom(3_000_000))
    (root.parent / "outside.txt").write_text("outside")
    (root / "link.txt").symlink_to(root.parent / "outside.txt")
    return root


@pytest.fixture
def site(start_gateway, site_dir):
    return start_gateway(env={"AUTHGATE_STATIC_SITE": str(site_dir)})


def test_the_static_site_is_served_where_no_route_is(site, site_dir):
    assert site.get("/").body == b"<h1>the site</h1>"
    assert site.get("/a%20b.txt").body == b"spaced"
    assert site.get("/docs").header("location") == "/docs/"
    assert site.get("/docs/").body == b"docs"
    assert site.get("/big.bin").body == (site_dir / "big.bin").read_bytes()
    assert site.get("/api/protected").status == 401
    for path in ("/nothing", "/link.txt", "/..%2foutside.txt", "/%2e%2e/outside.txt", "/../outside.txt", "//docs"):
        answer = site.get(path)
        assert answer.status in (400, 404)
        assert b"outside" not in answer.body


@pytest.mark.parametrize("path", ["/", "/dashboard", "/health", "/static/authgate/site.css", "/static/nothing"])
def test_a_response_carries_each_security_header_once(gateway, path):
    names = [name.lower() for name, _ in gateway.get(path, headers=HTML).headers]
    for name in ("x-content-type-options", "x-frame-options", "x-request-id"):
        assert names.count(name) == 1, (name, names)


def test_where_nobody_can_sign_in_an_operator_reads_what_to_do(start_gateway):
    gateway = start_gateway()
    page = gateway.request("/api/protected", host=f"localhost:{gateway.port}", headers=HTML)
    assert page.status == 401
    assert b"No identity provider is set up" in page.body


def test_without_a_site_there_is_a_default_page(gateway):
    assert b"authgate is running" in gateway.get("/", headers=HTML).body


def test_the_dashboard_knows_who_holds_the_token(gateway):
    page = gateway.get("/dashboard", token=gateway.mint("alice", roles=("admin",), name="Alice <b>"))
    assert b"alice" in page.body
    assert b"Alice &lt;b&gt;" in page.body
    assert b"admin" in page.body


def test_the_dashboard_refuses_a_credential_that_is_not_valid(gateway):
    page = gateway.get("/dashboard", headers=(("Authorization", "Bearer abc"), *HTML))
    assert (page.status, page.json()["reason"]) == (401, "invalid_token")


def test_a_browser_whose_credential_is_not_valid_reads_so_on_the_dashboards_page(gateway):
    navigation = ("Sec-Fetch-Mode", "navigate")
    page = gateway.get("/dashboard", headers=(("Authorization", "Bearer abc"), navigation, *HTML))
    assert page.status == 401
    assert b"<code>invalid_token</code>" in page.body
