"""Rules of a route about headers, in both directions."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway
from tests.support.scripted import answer

POLICY = """\
version: 1
upstreams: {api: {targets: ["%(target)s"]}, twin: {targets: ["%(target)s"]}}
routes:
  - {name: plain, path: /plain, access: public, upstream: api}
  - {name: twin, path: /twin, access: public, upstream: twin}
  - name: frames
    path: /frames
    access: public
    upstream: api
    security_headers: {X-Frame-Options: SAMEORIGIN, Permissions-Policy: null, Content-Security-Policy: "default-src 'self'"}
  - name: rules
    path: /rules
    access: public
    upstream: api
    request_headers: {set: {X-Tenant: acme, Accept-Language: de}, add: {X-Tag: two}, remove: [X-Debug]}
    response_headers: {set: {X-Set: ours, X-Frame-Options: SAMEORIGIN}, add: {X-Add: two}, remove: [Server, Referrer-Policy, Set-Cookie]}
  - name: private
    path: /private
    access: authenticated
    upstream: api
    response_headers: {remove: [Cache-Control]}
"""  # noqa: E501


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("changed") / "data"
    policy = POLICY % {"target": session_upstream.target}
    with Gateway(data, template=gateway_template, policy=policy, args=request.param) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def ask(site, upstream, path, *fields, **options):
    upstream.reply(answer(*fields))
    return site.get(path, **options)


# A Location is looked at more closely: both ways of finishing a response come to the same.
CLOSELY = pytest.mark.parametrize("closely", [(), ("Location: /x",)], ids=["ordinary", "closely"])


@CLOSELY
def test_a_route_changes_the_security_headers(site, upstream, closely):
    response = ask(site, upstream, "/frames/x", *closely)
    assert response.header("x-frame-options") == "SAMEORIGIN"
    assert response.header("permissions-policy") is None
    assert response.header("content-security-policy") == "default-src 'self'"
    assert response.header("x-content-type-options") == "nosniff"


@CLOSELY
def test_the_services_own_still_win(site, upstream, closely):
    response = ask(site, upstream, "/frames/x", "X-Frame-Options: DENY", "Permissions-Policy: usb=()", *closely)
    assert (response.header("x-frame-options"), response.header("permissions-policy")) == ("DENY", "usb=()")


def test_other_routes_and_refusals_keep_the_defaults(site, upstream):
    assert ask(site, upstream, "/plain/x").header("x-frame-options") == "DENY"
    assert site.get("/private/x").header("x-frame-options") == "DENY"


@CLOSELY
def test_a_response_is_changed(site, upstream, closely):
    fields = ["X-Set: theirs", "X-Set: twice", "X-Add: one", "Server: x/1", "Set-Cookie: a=b", "X-Other: 1"]
    fields.append("X-Frame-Options: DENY")
    response = ask(site, upstream, "/rules/x", *fields, *closely)
    assert response.all("x-set") == ["ours"]
    assert response.all("x-add") == ["one", "two"]
    assert response.header("x-frame-options") == "SAMEORIGIN"
    assert (response.header("server") in (None, "authgate"), response.header("set-cookie")) == (True, None)
    assert response.header("x-other") == "1"


@CLOSELY
def test_in_place_of_what_is_removed_comes_the_default(site, upstream, closely):
    response = ask(site, upstream, "/rules/x", "Referrer-Policy: unsafe-url", *closely)
    assert response.header("referrer-policy") == "strict-origin-when-cross-origin"


@CLOSELY
def test_what_is_private_stays_private(site, upstream, closely):
    response = ask(site, upstream, "/private/x", "Cache-Control: public", *closely, token=site.mint("alice"))
    assert response.header("cache-control") == "private"


def test_connection_does_not_take_out_what_is_set(site, upstream):
    response = ask(site, upstream, "/rules/x", "Connection: X-Set, X-Frame-Options")
    assert (response.header("x-set"), response.header("x-frame-options")) == ("ours", "SAMEORIGIN")


def test_a_request_is_changed(site, upstream):
    sent = [("X-Tenant", "evil"), ("x-tenant", "evil"), ("X-Tag", "one"), ("X-Debug", "1"), ("Accept-Language", "en"),
            ("Connection", "X-Tenant")]  # fmt: skip
    assert site.get("/rules/x", headers=sent).status == 200
    seen = upstream.only
    assert (seen.all("x-tenant"), seen.all("x-tag")) == (["acme"], ["one", "two"])
    assert (seen.all("x-debug"), seen.all("accept-language")) == ([], ["de"])


@pytest.mark.parametrize("path", ["/plain/x", "/twin/x", "/private/x"])
def test_no_other_route_to_the_service_lets_clients_say_what_one_sets(site, upstream, path):
    sent = [("X-Tenant", "evil"), ("X_Tenant", "evil"), ("X-Tag", "one"), ("Accept-Language", "en")]
    assert site.get(path, headers=sent, token=site.mint("alice")).status == 200
    assert b"evil" not in upstream.only.head
    assert (upstream.only.all("x-tag"), upstream.only.all("accept-language")) == (["one"], ["en"])
