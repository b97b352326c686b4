"""Traces: what a service is told, what the log says, and spans as a collector receives them."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.streams import wait_until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                received = ExportTraceServiceRequest.FromString(body)
                assert self.path == "/v1/traces"
                collector.spans += [
                    span for of in received.resource_spans for scope in of.scope_spans for span in scope.spans
                ]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def span_of(self, trace_id: str) -> Any:
        assert wait_until(lambda: any(span.trace_id.hex() == trace_id for span in self.spans), 15)
        [found] = [span for span in self.spans if span.trace_id.hex() == trace_id]
        return found


def told(upstream: Any, name: str = "traceparent") -> list[str]:
    return [value.decode() for known, value in upstream.requests[-1].headers if known.lower() == name.encode()]


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory) -> Iterator[Gateway]:
    data = tmp_path_factory.mktemp("traces") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data, template=gateway_template, policy=policy, args=request.param) as gateway:
        yield gateway.start()


def test_a_trace_passes_on_as_it_came(site, upstream):
    response = site.get("/api/public/1", headers=[("traceparent", GIVEN), ("tracestate", "a=b")])
    assert (response.status, told(upstream), told(upstream, "tracestate")) == (200, [GIVEN], ["a=b"])
    [line] = site.log_lines(path="/api/public/1", wait_for=1)
    assert (line["trace_id"], line["request_id"]) == (TRACE, response.header("x-request-id"))


@pytest.mark.parametrize("given", [[], [GIVEN.upper()], [GIVEN, GIVEN]], ids=["none", "malformed", "two"])
def test_a_request_without_one_begins_it(site, upstream, given):
    sent = [("traceparent", line) for line in given]
    response = site.get("/api/public/2", headers=[*sent, ("tracestate", "a=b")])
    request_id = response.header("x-request-id")
    assert told(upstream) == [f"00-{request_id}-{request_id[16:]}-01"]
    assert told(upstream, "tracestate") == []
    [line] = site.log_lines(request_id=request_id, wait_for=1)
    assert line["trace_id"] == request_id


def test_a_refused_request_belongs_to_its_trace_too(site):
    assert site.get("/api/protected/3", headers=[("traceparent", GIVEN)]).status == 401
    [line] = site.log_lines(path="/api/protected/3", wait_for=1)
    assert line["trace_id"] == TRACE


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def sending(request, gateway_template, session_upstream, tmp_path_factory, collector) -> Iterator[Gateway]:
    env = {
        "AUTHGATE_OTLP_ENDPOINT": collector.url + "/",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "AUTHGATE_TRUSTED_PROXIES": "127.0.0.1",
    }
    data = tmp_path_factory.mktemp("spans") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data, template=gateway_template, policy=policy, args=request.param, env=env) as gateway:
        yield gateway.start()


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def test_the_gateways_span_stands_between_caller_and_service(sending, upstream, collector):
    trace_id = f"{sending.port:032x}"
    headers = [("traceparent", f"00-{trace_id}-{PARENT}-01"), ("X-Forwarded-For", "192.0.2.7")]
    response = sending.get("/api/protected/x", token=sending.mint("alice"), headers=headers)
    request_id = response.header("x-request-id")
    assert told(upstream) == [f"00-{trace_id}-{request_id[16:]}-01"]
    span = collector.span_of(trace_id)
    assert (span.name, span.kind, span.parent_span_id.hex()) == ("GET /api/protected", 2, PARENT)
    assert span.span_id.hex() == request_id[16:]
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 5_000_000_000
    found = attributes(span)
    expected = {"http.response.status_code": 200, "authgate.decision": "allow", "authgate.route": "protected"}
    assert expected.items() <= found.items()
    assert "alice" not in str(span) and "/x" not in str(span)


def test_a_refusal_says_its_reason(sending, collector):
    response = sending.get("/api/protected/x")
    found = attributes(collector.span_of(response.header("x-request-id")))
    assert (found["http.response.status_code"], found["authgate.reason"]) == (401, "no_credential")


def test_a_trusted_proxy_says_what_is_not_sampled(sending, upstream, collector):
    unsampled = f"{sending.port + 100_000:032x}"
    headers = [("traceparent", f"00-{unsampled}-{PARENT}-00"), ("X-Forwarded-For", "192.0.2.7")]
    assert sending.get("/api/public/x", headers=headers).status == 200
    assert told(upstream)[0].endswith("-00")
    later = sending.get("/api/public/x").header("x-request-id")
    collector.span_of(later)
    assert not any(span.trace_id.hex() == unsampled for span in collector.spans)


def test_nothing_is_sampled_beyond_the_ratio(gateway_template, upstream, tmp_path, collector):
    env = {"AUTHGATE_OTLP_ENDPOINT": collector.url, "AUTHGATE_TRACE_RATIO": "0", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with Gateway(tmp_path / "data", template=gateway_template, policy=demo_policy(upstream.target), env=env) as gateway:
        gateway.start()
        before = len(collector.spans)
        # A stranger has no say in it.
        assert gateway.get("/api/public/x", headers=[("traceparent", GIVEN)]).status == 200
        assert told(upstream)[0].startswith(f"00-{TRACE}-") and told(upstream)[0].endswith("-00")
        gateway.stop()
    assert len(collector.spans) == before


def test_spans_that_wait_are_sent_at_the_end(gateway_template, upstream, tmp_path, collector):
    env = {"AUTHGATE_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with Gateway(tmp_path / "data", template=gateway_template, policy=demo_policy(upstream.target), env=env) as gateway:
        gateway.start()
        request_id = gateway.get("/api/public/x").header("x-request-id")
        gateway.stop()
    assert any(span.trace_id.hex() == request_id for span in collector.spans)


def test_a_collector_that_is_away_delays_nobody(gateway_template, upstream, tmp_path):
    env = {"AUTHGATE_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with Gateway(tmp_path / "data", template=gateway_template, policy=demo_policy(upstream.target), env=env) as gateway:
        gateway.start()
        assert [gateway.get("/api/public/x").status for _ in range(20)] == [200] * 20
        assert wait_until(lambda: "opentelemetry" in gateway.output, 15)
        assert [gateway.get("/api/public/x").status for _ in range(20)] == [200] * 20


def test_without_its_packages_serve_says_what_to_install(gateway_template, tmp_path):
    hidden = tmp_path / "path" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    env = {"AUTHGATE_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(hidden.parent)}
    with Gateway(tmp_path / "data", template=gateway_template, env=env) as gateway:
        refused = gateway.run("serve", "--bind", f"127.0.0.1:{gateway.port}")
    assert (refused.returncode, "requirements-otlp.txt" in refused.stderr) == (1, True)


def test_the_application_log_in_json(gateway_template, upstream, tmp_path):
    env = {"AUTHGATE_LOG_FORMAT": "json"}
    policy = demo_policy("http://127.0.0.1:9")
    with Gateway(tmp_path / "data", template=gateway_template, policy=policy, env=env) as gateway:
        gateway.start()
        response = gateway.get("/api/public/x", headers=[("traceparent", GIVEN)])
        assert response.status == 502
        assert wait_until(lambda: "answered with upstream_unreachable" in gateway.output, 10)
        lines = [json.loads(line) for line in gateway.output.splitlines()]
    assert all(line.keys() >= {"ts"} for line in lines)
    about = [line for line in lines if line.get("level") and line.get("request_id") == response.header("x-request-id")]
    assert about and {line["trace_id"] for line in about} == {TRACE}
