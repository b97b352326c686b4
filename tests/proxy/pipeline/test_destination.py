"""The second path of COPY and MOVE: rewritten for the service, and never one that its caller was not let in to."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway

POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}}
roles: {admin: {}}
routes:
  - {name: dav, path: /dav, access: public, upstream: api}
  - {name: strip, path: /strip, access: public, upstream: api, strip_prefix: true, add_prefix: /files}
  - {name: secret, path: /dav/secret, access: roles, roles: [admin], upstream: api}
"""


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("dav") / "data"
    with Gateway(
        data, template=gateway_template, policy=POLICY % session_upstream.target, args=request.param
    ) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def move(site, destination, path="/dav/a", method="MOVE", more=()):
    return site.request(path, method=method, headers=[("Destination", destination.format(site.url)), *more])


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    ("path", "destination", "sent"),
    [("/dav/a", "{}/dav/b%20c", "/dav/b%20c"), ("/dav/a", "/dav/b", "/dav/b"), ("/strip/a", "{}/strip/b", "/files/b"),
     ("/strip/a", "/strip/b/", "/files/b/")],
)  # fmt: skip
def test_the_service_gets_the_path_that_it_knows(site, upstream, method, path, destination, sent):
    assert move(site, destination, path, method).status == 200
    assert upstream.only.all("destination") == [sent]


@pytest.mark.parametrize(
    "destination",
    ["/dav/secret/x", "{}/dav/secret", "/dav/SECRET/x", "/dav/x/../secret/y", "/dav/%2e%2e/x", "/dav%2Fsecret/x",
     "//evil.test/dav/x", "https://evil.test/dav/x", "http://localhost@evil.test/dav/x", "/strip/x", "/", "", "dav/b",
     "http:/dav/x", "/dav/x?y", "/dav/secret;x/y", "/dav//secret/x", "file:///etc/passwd", "/dav/x#y", "{}:1/dav/x"],
)  # fmt: skip
def test_no_destination_leads_where_nobody_asked(site, upstream, destination):
    response = move(site, destination)
    assert (response.status, response.json()["reason"], upstream.requests) == (403, "wrong_destination", [])


def test_two_destinations_are_none(site, upstream):
    assert move(site, "/dav/b", more=[("Destination", "/dav/secret/x")]).status == 403


@pytest.mark.parametrize("method", ["GET", "PUT", "PROPFIND"])
def test_with_other_methods_it_is_removed(site, upstream, method):
    assert move(site, "/dav/secret/x", method=method).status == 200
    assert upstream.only.all("destination") == []


def test_without_one_the_service_decides(site, upstream):
    assert site.request("/dav/a", method="MOVE").status == 200


def test_it_is_decided_for_each_request_of_a_connection(site, upstream):
    """The headers are the same ones, and the lines made from them are kept."""
    host = f"localhost:{site.port}"
    with site.connect() as client:
        for method in ("GET", "MOVE", "GET"):
            client.send(f"{method} /dav/a HTTP/1.1\r\nHost: {host}\r\nDestination: /dav/b\r\n\r\n".encode())
            assert client.response(method).status == 200
    assert [request.all("destination") for request in upstream.requests] == [[], ["/dav/b"], []]
