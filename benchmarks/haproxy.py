"""HAProxy verifying tokens (without a cache: it has none), with a log line in JSON for each request."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks import tokens
from benchmarks.nginx import Upstream
from benchmarks.processes import PeerMissing, Server, free_port
from benchmarks.tls import TlsFiles, origin

_CONFIG = """
global
  nbthread 2
  maxconn 8192
  log stdout format raw local0
defaults
  mode http
  log global
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 300s
frontend bench
  bind 127.0.0.1:{port}{tls}
  log-format '{{"ts":"%t","client":"%ci","method":"%HM","path":"%HU","status":%ST,"bytes":%B,"duration_ms":%Ta,\
"upstream_ms":%Tr,"sub":"%[var(txn.sub)]"}}'
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.sub) var(txn.token),jwt_payload_query('$.sub')
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_header_query('$.alg') -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify("RS256","{key}") -m int 1 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.iss') -m str {issuer} }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.aud') -m str {audience} }}
  http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
  http-request deny deny_status 403 unless {{ var(txn.token),jwt_payload_query('$.roles[0]') -m str bench }}
  http-request set-header X-Auth-User-ID %[var(txn.sub)]
  default_backend service
backend service
  server service 127.0.0.1:{upstream}
"""


class HAProxy:
    verifies = True

    def __init__(
        self, directory: Path, upstream: Upstream, signer: tokens.Signer, *, tls: TlsFiles | None = None
    ) -> None:
        binary = _binary()
        self.name = "haproxy_tls" if tls else "haproxy"
        self.port = free_port()
        self.url = origin(self.port, tls)
        self.signer = signer
        self.token = signer.sign("alice")
        self.version = _version(binary)
        key, config = directory / "key.pem", directory / "haproxy.cfg"
        public = tokens.private_key(signer.pem).public_key()
        key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        config.write_text(
            _CONFIG.format(
                port=self.port, tls=f" ssl crt {tls.cert}" if tls else "", upstream=upstream.port, key=key,
                issuer=tokens.ISSUER, audience=tokens.AUDIENCE,
            )
        )  # fmt: skip
        self._server = Server([binary, "-db", "-f", str(config)], self.port, directory / "output.log")

    def pids(self) -> list[int]:
        return self._server.pids()

    def stop(self) -> None:
        self._server.stop()


def _binary() -> str:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not found:
        raise PeerMissing("haproxy is not installed (Debian package haproxy)")
    return found


def _version(binary: str) -> str:
    return subprocess.run([binary, "-v"], capture_output=True, text=True).stdout.splitlines()[0].strip()
