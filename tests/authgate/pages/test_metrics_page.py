"""Who may read `/metrics`."""

from __future__ import annotations

import pytest

from tests.support.sessions import make_session


def status(gateway, *, headers=(), token=None, host=None):
    return gateway.request("/metrics", headers=headers, token=token, host=host).status


@pytest.fixture
def closed(start_gateway):
    """No network is trusted: only roles open it."""
    return start_gateway(env={"AUTHGATE_METRICS_NETWORKS": "none", "AUTHGATE_METRICS_ROLES": "scraper"}, policy=POLICY)


@pytest.fixture
def behind_proxy(start_gateway):
    return start_gateway(env={"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"})


POLICY = """\
version: 1
upstreams:
  api: {targets: ["http://127.0.0.1:1"]}
roles:
  scraper: {}
  robot: {admin: api}
  other: {}
  operator: {admin: staff}
grants:
  - {role: operator, when: {authenticated: true, provider: staff}}
routes:
  - {name: wiki, host: wiki.test, path: /, access: public, upstream: api}
"""


def test_loopback_may_read_them_by_default_and_only_read(gateway):
    response = gateway.get("/metrics")
    assert response.status == 200
    assert response.header("content-type").startswith("text/plain")
    assert response.header("cache-control") == "no-store"
    assert gateway.request("/metrics", method="POST", body=b"").status in (403, 405)
    assert gateway.request("/metrics", method="HEAD").body == b""


def test_strangers_get_nothing(closed):
    assert status(closed) == 401
    assert b"authgate_" not in closed.get("/metrics").body
    assert status(closed, token="nonsense") == 401
    assert status(closed, token=closed.mint("alice", roles=("other",))) == 403


def test_a_role_that_the_setting_names_opens_them_and_so_does_one_that_opens_the_api(closed):
    assert status(closed, token=closed.mint("prometheus", roles=("scraper",))) == 200
    assert status(closed, token=closed.mint("robot", roles=("robot",))) == 200
    closed.settle()
    token = closed.manage("service_token", "create", "prometheus", "--role", "scraper", "--quiet").strip()
    assert status(closed, token=token) == 200


def test_networks_are_those_of_the_setting(start_gateway):
    assert status(start_gateway(env={"AUTHGATE_METRICS_NETWORKS": "10.0.0.0/8"})) == 401
    assert status(start_gateway(env={"AUTHGATE_METRICS_NETWORKS": "10.0.0.0/8, 127.0.0.1"})) == 200


@pytest.mark.parametrize(
    "header",
    [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=127.0.0.1"),
     ("X-Real-IP", "127.0.0.1"), ("X-Forwarded-Proto", "http"), ("Via", "1.1 front")],
)  # fmt: skip
def test_a_proxy_that_is_not_trusted_makes_nobody_local(gateway, header):
    assert status(gateway, headers=[header]) == 401


@pytest.mark.parametrize(
    "header", [("X-Forwarded-Proto", "http"), ("Via", "1.1 front"), ("X-Forwarded-For", "unknown")]
)
def test_a_trusted_proxy_on_this_machine_that_names_no_client_makes_nobody_local(behind_proxy, header):
    assert status(behind_proxy) == 200
    assert status(behind_proxy, headers=[header]) == 401


def test_behind_a_trusted_proxy_it_is_the_clients_address_that_counts(start_gateway):
    gateway = start_gateway(env={"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1", "AUTHGATE_METRICS_NETWORKS": "10.0.0.0/8"})
    assert status(gateway, headers=[("X-Forwarded-For", "10.1.2.3")]) == 200
    assert status(gateway, headers=[("X-Forwarded-For", "203.0.113.9")]) == 401
    assert status(gateway, headers=[("X-Forwarded-For", "10.1.2.3, 203.0.113.9")]) == 401
    assert status(gateway) == 401


def test_it_answers_by_address_and_by_the_gateways_names_and_not_by_another(start_gateway):
    gateway = start_gateway(env={"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"})
    assert status(gateway, host="127.0.0.1:9999") == 200
    assert status(gateway, host="[::1]") == 200
    assert status(gateway, host="192.0.2.7:8000") == 200
    assert status(gateway, host="gateway.example.com") == 200
    assert status(gateway, host="rebound.example.net") == 400


def test_on_a_host_of_a_service_the_path_is_the_services(closed):
    """As it was before there were metrics."""
    assert status(closed, host="wiki.test") == 502


def test_a_session_opens_them_with_a_role_that_opens_the_admin(closed):
    operator = make_session(closed, "root", slug="staff")
    visitor = make_session(closed, "alice")
    assert status(closed, headers=operator.headers) == 200
    assert status(closed, headers=visitor.headers) == 403
