from __future__ import annotations

import json

FIELDS = [
    "ts", "request_id", "client", "method", "host", "path", "status", "bytes", "duration_ms", "upstream_ms",
    "route", "decision", "reason", "sub", "credential", "revision",
]  # fmt: skip


def last(gateway, **fields):
    return gateway.log_lines(wait_for=1, **fields)[-1]


def test_a_line_has_the_documented_fields_in_order(gateway, upstream):
    response = gateway.get("/api/public/fields")
    line = last(gateway, path="/api/public/fields")
    assert list(line) == FIELDS
    assert line["request_id"] == response.header("x-request-id") == upstream.only.header("x-request-id")
    assert (line["status"], line["decision"], line["reason"], line["route"]) == (200, "allow", "public", "public")
    assert line["bytes"] == len(response.body)
    assert 0 <= line["upstream_ms"] <= line["duration_ms"]


def test_a_refusal_says_why_under_the_id_the_caller_saw(gateway):
    refusal = gateway.get("/api/protected/refused").json()
    line = last(gateway, path="/api/protected/refused")
    assert (line["request_id"], line["reason"]) == (refusal["request_id"], "no_credential")
    assert (line["status"], line["decision"], line["sub"], line["upstream_ms"]) == (401, "deny", None, None)


def test_a_caller_is_named_also_on_the_gateways_own_pages(gateway, upstream):
    token = gateway.mint("alice")
    for path in ("/api/protected/named", "/auth/me"):
        gateway.get(path, token=token)
        line = last(gateway, path=path, status=200)
        assert (line["sub"], line["credential"]) == ("alice", "bearer")


def test_an_upstream_failure_is_an_allowed_request_with_its_reason(gateway, upstream):
    upstream.reply(b"nonsense\r\n\r\n")
    assert gateway.get("/api/public/broken").status == 502
    line = last(gateway, path="/api/public/broken")
    assert (line["decision"], line["reason"], line["status"]) == ("allow", "upstream_broken", 502)


def test_health_checks_leave_no_line(gateway):
    gateway.get("/health")
    gateway.get("/api/public/after-health")
    last(gateway, path="/api/public/after-health")
    assert gateway.log_lines(path="/health") == []


def test_queries_tokens_and_cookies_are_never_written(gateway, upstream):
    token = gateway.mint("alice")
    gateway.get("/api/public/secret?password=planted-query", token=token, headers=[("Cookie", "sid=planted-cookie")])
    last(gateway, path="/api/public/secret")
    written = gateway.output + json.dumps(gateway.log_lines())
    assert "planted" not in written
    assert token not in written


def test_control_characters_reach_the_log_only_escaped(gateway):
    gateway.send(b"GET /api/%1b[31m HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    assert "\x1b" not in gateway.output
