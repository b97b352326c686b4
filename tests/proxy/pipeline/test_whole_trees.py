"""A request for a folder with all that is in it: never for what another route keeps from its caller."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway

POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}}
roles: {admin: {}, editor: {}}
routes:
  - {name: dav, path: /dav, access: public, upstream: api}
  - {name: secret, path: /dav/a/secret, access: roles, roles: [admin], upstream: api}
  - {name: file, path: /dav/b/Key.txt, match: exact, access: roles, roles: [admin], upstream: api}
  - {name: read, path: /dav/c/secret, methods: [GET], access: roles, roles: [admin], upstream: api}
  - {name: off, path: /dav/d/off, access: public, upstream: api, enabled: false}
  - {name: open, path: /dav/e/open, access: public, upstream: api}
  - {name: signed, path: /dav/f/signed, access: authenticated, upstream: api}
  - {name: elsewhere, path: /dav/g/secret, host: other.test, access: roles, roles: [admin], upstream: api}
  - {name: wild, path: /dav/h/secret, host: "*.wild.test", access: roles, roles: [admin], upstream: api}
  - {name: cross, path: /dav/i/cors, access: roles, roles: [admin], upstream: api}
  - {name: strip, path: /strip, access: public, upstream: api, strip_prefix: true, add_prefix: /files}
  - {name: stripped, path: /strip/a/secret, access: roles, roles: [admin], upstream: api}
  - {name: top, path: /top, match: exact, access: public, upstream: api}
  - {name: hidden, path: /dav/g, host: hides.test, access: public, upstream: api}
  - {name: hiding, path: /dav/g/secret, host: hides.test, access: public, upstream: api}
  - {name: under, path: /dav/g/secret, access: public, upstream: api}
"""


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("trees") / "data"
    with Gateway(
        data, template=gateway_template, policy=POLICY % session_upstream.target, args=request.param
    ) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def ask(site, method, path, destination="", headers=(), **more):
    named = [("Destination", destination)] if destination else []
    return site.request(path, method=method, headers=[*named, *headers], **more)


def assert_refused(response, upstream):
    assert (response.status, response.json()["reason"], upstream.requests) == (403, "protected_below", [])


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    "folder",
    ["/dav", "/dav/", "/dav/a", "/dav/a/", "/dav/A", "/dav/b", "/dav/c", "/dav/d", "/dav/f", "/strip/a",
     "/dav/a%3Bx", "/dav/a."],
)  # fmt: skip
def test_no_folder_takes_along_or_overwrites_what_others_protect_in_it(site, upstream, method, folder):
    free = "/strip/z" if folder.startswith("/strip") else "/dav/z"
    assert_refused(ask(site, method, folder, free), upstream)
    assert_refused(ask(site, method, free, folder), upstream)
    assert_refused(ask(site, method, free, folder, [("Overwrite", "F"), ("Depth", "0")]), upstream)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("folder", ["/dav/z", "/dav/e", "/dav/aa", "/dav/g", "/dav/h", "/dav/a/secre", "/dav/a/b"])
def test_other_folders_move_as_before(site, upstream, method, folder):
    assert ask(site, method, folder, "/dav/y").status == 200
    assert ask(site, method, "/dav/y", folder).status == 200


@pytest.mark.parametrize(
    ("method", "depths"),
    [("DELETE", ()), ("DELETE", ("0",)), ("PROPFIND", ()), ("PROPFIND", ("infinity",)), ("PROPFIND", ("0", "infinity")),
     ("PROPFIND", ("1,noroot",)), ("PROPFIND", ("1, infinity",)), ("LOCK", ()), ("LOCK", ("1",)),
     ("LOCK", ("infinity",)), ("REPORT", ("0",)), ("SEARCH", ("0",)), ("ACL", ()), ("COPY", ("0",)), ("BIND", ()),
     ("REBIND", ()), ("UNBIND", ())],
)  # fmt: skip
def test_nor_does_any_other_request_for_all_that_is_in_it(site, upstream, method, depths):
    assert_refused(ask(site, method, "/dav/a", headers=[("Depth", depth) for depth in depths]), upstream)


@pytest.mark.parametrize(("method", "depth"), [("PROPFIND", "0"), ("PROPFIND", "1"), ("LOCK", "0")])
def test_what_stays_at_the_folder_passes(site, upstream, method, depth):
    assert ask(site, method, "/dav/a", headers=[("Depth", depth)]).status == 200


def test_no_client_takes_the_depth_away_on_the_way(site, upstream):
    headers = [("Depth", "0"), ("Connection", "depth")]
    if ask(site, "PROPFIND", "/dav/a", headers=headers).status == 200:
        assert upstream.only.all("depth") == ["0"]


@pytest.mark.parametrize("method", ["GET", "PUT", "MKCOL", "PROPPATCH", "UNLOCK", "PATCH", "POST"])
def test_what_is_for_one_path_passes(site, upstream, method):
    assert ask(site, method, "/dav/a").status == 200


@pytest.mark.parametrize("method", ["SEARCH", "BIND", "REBIND", "UNBIND", "MERGE"])
def test_a_body_may_name_any_place_of_the_route(site, upstream, method):
    assert_refused(ask(site, method, "/dav/z"), upstream)


@pytest.mark.parametrize("method", ["COPY", "DELETE", "PROPFIND"])
@pytest.mark.parametrize(("roles", "status"), [(("admin",), 200), (("editor",), 403)])
def test_those_who_are_let_in_below_may(site, upstream, method, roles, status):
    destination = "/dav/z" if method == "COPY" else ""
    assert ask(site, method, "/dav/a", destination, token=site.mint("somebody", roles=roles)).status == status
    assert ask(site, method, "/dav/d", destination, token=site.mint("somebody", roles=roles)).status == 403
    assert ask(site, method, "/dav/f", destination, token=site.mint("somebody", roles=roles)).status == 200


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [("other.test", "/dav/g", 403), ("a.wild.test", "/dav/h", 403), ("a.b.wild.test", "/dav/h", 403),
     ("hides.test", "/dav/g", 200), ("other.test", "/dav/h", 200)],
)  # fmt: skip
def test_routes_count_for_their_hosts(site, upstream, host, path, status):
    assert ask(site, "DELETE", path, host=host).status == status


@pytest.mark.parametrize(("method", "status"), [("PROPFIND", 403), ("LOCK", 403), ("DELETE", 200), ("GET", 200)])
def test_a_route_for_one_path_leads_to_nothing_below(site, upstream, method, status):
    assert ask(site, method, "/top").status == status


def test_a_token_for_some_routes_opens_no_other_one_from_above(site, upstream):
    narrow = site.manage("service_token", "create", "narrow", "--role", "admin", "--route", "dav", "--quiet").strip()
    wide = site.manage("service_token", "create", "wide", "--role", "admin", "--quiet").strip()
    site.settle()
    assert ask(site, "DELETE", "/dav/a", token=narrow).status == 403
    assert ask(site, "DELETE", "/dav/a", token=wide).status == 200
