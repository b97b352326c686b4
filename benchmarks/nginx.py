"""nginx twice: as the service behind everybody, and as the plain reverse proxy that is the limit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.processes import PeerMissing, Server, free_port
from benchmarks.tls import TlsFiles, origin

SMALL = '{"id": 42, "name": "widget", "tags": ["a", "b"], "price": 12.5, "stock": 1200, "ok": true}'
DOWNLOAD_BYTES = 1 << 30

_FRAME = """
{user}
worker_processes 2;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 300;
  keepalive_requests 100000000;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  {http}
}}
"""

_UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{small}'; }}
    location /varied {{
      default_type application/json;
      add_header ETag '"$request_id"';
      add_header X-Served-At $msec;
      add_header x-due $http_x_due;
      return 200 '{{"id": "$request_id", "name": "widget", "tags": ["a", "b"], "price": 12.5, "ok": true}}';
    }}
    location /download {{ alias {dir}/download.bin; }}
  }}
"""

_PROXY = """
  upstream small {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 16; }}
  upstream talker {{ server 127.0.0.1:{talker}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{tls};
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_max_temp_file_size 0;
    proxy_request_buffering off;
    location / {{ proxy_pass http://small; }}
    location /upload {{ proxy_pass http://sink; }}
    location /events {{ proxy_pass http://talker; proxy_buffering off; }}
    location /ws {{
      proxy_pass http://talker;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }}
  }}
"""

# TLS 1.3 is no default of nginx before 1.23.4.
_TLS = " ssl; ssl_protocols TLSv1.2 TLSv1.3"


class Upstream:
    """Small JSON and the big file from nginx; uploads into the sink."""

    name = "direct"
    verifies = False

    def __init__(self, directory: Path) -> None:
        self.port, self.sink_port, self.talker_port = free_port(), free_port(), free_port()
        self.talker_url = f"http://127.0.0.1:{self.talker_port}"
        self.url, self.sink_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.sink_port}"
        with (directory / "download.bin").open("wb") as file:
            file.truncate(DOWNLOAD_BYTES)
        http = _UPSTREAM.format(port=self.port, small=SMALL, dir=directory)
        self.version = version()
        self._nginx = start(directory, http, self.port)
        self._others: list[Server] = []
        try:
            for name, port in (("sink", self.sink_port), ("talker", self.talker_port)):
                command = [sys.executable, "-m", f"benchmarks.{name}", str(port)]
                self._others.append(Server(command, port, directory / f"{name}.log"))
        except BaseException:
            self.stop()
            raise

    def pids(self) -> list[int]:
        return self._nginx.pids()

    def stop(self) -> None:
        for server in (self._nginx, *self._others):
            server.stop()


class PlainProxy:
    verifies = False

    def __init__(self, directory: Path, upstream: Upstream, *, tls: TlsFiles | None = None) -> None:
        self.name = "nginx_tls" if tls else "nginx"
        self.port = free_port()
        self.url = origin(self.port, tls)
        self.version = version()
        files = f"{_TLS}; ssl_certificate {tls.cert}; ssl_certificate_key {tls.key}" if tls else ""
        http = _PROXY.format(
            port=self.port, tls=files, upstream=upstream.port, sink=upstream.sink_port, talker=upstream.talker_port
        )
        self._server = start(directory, http, self.port)

    def pids(self) -> list[int]:
        return self._server.pids()

    def stop(self) -> None:
        self._server.stop()


def start(directory: Path, http: str, port: int) -> Server:
    config = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_FRAME.format(dir=directory, http=http, user=user))
    return Server([_binary(), "-p", str(directory), "-c", str(config)], port, directory / "output.log")


def version() -> str:
    return subprocess.run([_binary(), "-v"], capture_output=True, text=True).stderr.split(": ")[-1].strip()


def _binary() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not found:
        raise PeerMissing("nginx is not installed (Debian package nginx)")
    return found
