"""What an upstream may say, and that it survives rows, YAML and JSON."""

from __future__ import annotations

import pytest

from authgate.policy import revisions
from authgate.policy.compiler import compile_rows
from authgate.policy.document import PolicyInvalid, parse_stored, parse_yaml, to_json, to_plain, to_yaml, validate
from authgate.policy.powers import Machine

FULL = """\
version: 1
upstreams:
  api:
    targets: ["https://one.internal", "https://two.internal:8443"]
    balance: least_connections
    weights: {"https://one.internal": 3}
    retries: 2
    connections: 50
    queue: 20
    queue_timeout: 2.5
    health: {path: "/up?deep=1", status: [200, 204], interval: 5, timeout: 1, healthy_after: 1, unhealthy_after: 2}
    tls:
      ca_file: /etc/ca.pem
      server_name: api.internal
      client_cert_file: /etc/c.pem
      client_key_file: /etc/k.pem
      min_version: "1.3"
  plain: {targets: ["http://127.0.0.1:1", "http://127.0.0.1:1"]}
"""


def problems(**keys) -> list[str]:
    upstream = {"targets": ["https://a.internal", "http://127.0.0.1:1"], **keys}
    return told({"version": 1, "upstreams": {"api": upstream}})


def told(plain) -> list[str]:
    from authgate.policy.document import parse_plain

    try:
        document = parse_plain(plain)
    except PolicyInvalid as invalid:
        return [str(error) for error in invalid.errors]
    return [str(error) for error in validate(document, own_hosts=(), auth_prefix="/auth")]


@pytest.mark.django_db
def test_all_of_it_survives_rows_and_files():
    document = parse_yaml(FULL)
    assert validate(document, own_hosts=(), auth_prefix="/auth") == []
    revisions.replace(document, Machine("test"))
    assert compile_rows() == document
    assert parse_yaml(to_yaml(document)) == parse_stored(to_json(document)) == document
    changed = parse_yaml(FULL.replace("retries: 2", "retries: 0").replace("status: [200, 204]", "status: []"))
    revisions.replace(changed, Machine("test"))
    assert compile_rows() == changed


def test_what_is_not_said_is_not_written():
    assert to_plain(parse_yaml(FULL))["upstreams"]["plain"] == {"targets": ("http://127.0.0.1:1",) * 2}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"balance": "random"}, "balance: must be one of round_robin, least_connections, client, cookie, not 'random'"),
        ({"weights": {"https://b.internal": 2}}, "weights: 'https://b.internal' is not one of the targets"),
        ({"weights": {"https://a.internal": 0}}, "weights: 'https://a.internal': must be from 1 to 100"),
        ({"weights": {"https://a.internal": "2"}}, "weights.https://a.internal: must be a whole number"),
        ({"retries": -1}, "retries: must be from 0 to 10"),
        ({"connections": 0}, "connections: must be from 1 to 100000"),
        ({"queue": 20_000}, "queue: must be from 0 to 10000"),
        ({"queue_timeout": 0}, "queue_timeout: must be more than 0 and at most 3600 seconds"),
        ({"queue_timeout": float("nan")}, "queue_timeout: must be more than 0 and at most 3600 seconds"),
        ({"health": {"interval": 5}}, "health.path: the path of the health check is needed"),
        ({"health": {"path": "up"}}, "health.path: must begin with /"),
        ({"health": {"path": "/a b"}}, "health.path: must begin with /"),
        ({"health": {"path": "/\r\nx: y"}}, "health.path: must begin with /"),
        ({"health": {"path": "/", "status": [101]}}, "health.status: 101 is not a status from 200 to 599"),
        ({"health": {"path": "/", "status": ["ok"]}}, "health.status: must be a list of whole numbers"),
        ({"health": {"path": "/", "interval": 0.01}}, "health.interval: must be at least 0.1 and at most 3600"),
        ({"health": {"path": "/", "healthy_after": 0}}, "health.healthy_after: must be from 1 to 100"),
        ({"health": {"paht": "/"}}, "health.paht: unknown key; did you mean 'path'?"),
        ({"tls": {"ca_file": "ca.pem"}}, "tls.ca_file: must be the absolute path of a PEM file"),
        ({"tls": {"client_cert_file": "/c"}}, "tls.client_key_file: a client certificate needs both"),
        ({"tls": {"client_key_file": "/k"}}, "tls.client_cert_file: a client certificate needs both"),
        ({"tls": {"server_name": "UPPER"}}, "tls.server_name: write the host in lower case: upper"),
        ({"tls": {"min_version": "1.1"}}, "tls.min_version: must be one of"),
        ({"targets": ["http://a"], "tls": {"ca_file": "/ca"}}, "tls: has no effect without a target that begins with"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(keys, message):
    lines = problems(**keys)
    assert len(lines) == 1
    assert lines[0].startswith(f"upstreams.api.{message}")
