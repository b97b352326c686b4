"""nginx, HAProxy and Caddy as documented, in front of a gateway, with hostile clients in front of them."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.sync.client import connect

from tests.support import raw
from tests.support.certificates import Certificates, make_certificates
from tests.support.front import Front, FrontMissing, documented
from tests.support.gateway import Gateway, free_port
from tests.support.scripted import answer
from tests.support.upstream import RecordingUpstream
from tests.support.websocket import WebSocketService

POLICY = """\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}, sockets: {{targets: ["{sockets}"]}}}}
routes:
  - {{name: wiki, host: wiki.example.com, path: /, access: public, upstream: api}}
  - {{name: private, host: wiki.example.com, path: /private, access: authenticated, upstream: api}}
  - {{name: socket, host: wiki.example.com, path: /socket, access: public, upstream: sockets}}
  - {{name: any, path: /any, access: public, upstream: api}}
"""
# As many have it: neither sets nor clears the host and port that a client writes.
USUAL = """\
server {
    listen 443 ssl;
    ssl_certificate /etc/ssl/gateway.pem;
    ssl_certificate_key /etc/ssl/gateway.key;
    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}
"""
HOSTILE = [
    ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "444"), ("X-Forwarded-Prefix", "/evil"), ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6;host=evil.example;proto=http"), ("X-Forwarded-Server", "evil.example"),
]  # fmt: skip


WIKI = "wiki.example.com"


class Site(NamedTuple):
    gateway: Gateway
    port: int
    certificates: Certificates

    def request(self, target: str, *headers: tuple[str, str], host: str = "wiki.example.com") -> raw.Response:
        options = {"tls": self.certificates.client_context(), "server_hostname": host}
        data = raw.request(target=target, headers=headers, host=f"{host}:{self.port}")
        return raw.exchange(("127.0.0.1", self.port), data, **options)


@pytest.fixture(scope="module")
def sockets() -> Iterator[WebSocketService]:
    with WebSocketService() as service:
        yield service


@pytest.fixture(scope="module")
def behind(
    gateway_template: Path, session_upstream: RecordingUpstream, sockets: WebSocketService, tmp_path_factory
) -> Iterator[Site]:
    """The gateway that all of them stand in front of, in turn on one port: it is part of the public URL."""
    directory, port = tmp_path_factory.mktemp("behind"), free_port()
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1", "AUTHGATE_PUBLIC_URL": f"https://gateway.example.com:{port}"}
    policy = POLICY.format(target=session_upstream.target, sockets=sockets.target)
    names = make_certificates(directory, "gateway.example.com", "wiki.example.com")
    with Gateway(directory / "data", template=gateway_template, policy=policy, env=env) as gateway:
        github = ("--preset", "github", "--client-id", "id", "--client-secret", "s")
        gateway.manage("provider", "add", "github", *github, "--callbacks", "each")
        gateway.manage("provider", "add", "corp", *github)
        yield Site(gateway.start(), port, names)


def start(program: str, text: str, site: Site, directory: Path) -> Front:
    try:
        return Front(program, text, site.port, site.gateway.port, site.certificates, directory)
    except FrontMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["nginx", "haproxy", "caddy"])
def site(request, behind: Site, tmp_path: Path) -> Iterator[Site]:
    program = request.param
    front = start(program, documented({"caddy": "caddyfile"}.get(program, program)), behind, tmp_path)
    with closing(front):
        yield behind


def test_a_hostile_client_says_nothing_of_itself_through_a_documented_proxy(site, upstream):
    assert site.request("/page", *HOSTILE).status == 200
    seen = {name: upstream.only.header(f"x-forwarded-{name}") for name in ("for", "proto", "host", "port")}
    assert seen.pop("host") in ("wiki.example.com", f"wiki.example.com:{site.port}")
    assert seen == {"for": "127.0.0.1, 127.0.0.1", "proto": "https", "port": str(site.port)}
    assert "evil" not in str(upstream.only.headers)
    assert "6.6.6.6" not in str(upstream.only.headers)


def test_no_service_gives_orders_to_the_proxy(site, upstream):
    upstream.reply(answer("X-Accel-Redirect: /other", "X-Sendfile: /etc/passwd", body=b"mine"), path="/page")
    response = site.request("/page")
    assert (response.status, response.body, len(upstream.requests)) == (200, b"mine", 1)


def test_a_websocket_passes(site):
    with connect(
        f"wss://{WIKI}:{site.port}/socket", sock=socket.create_connection(("127.0.0.1", site.port)),
        ssl=site.certificates.client_context(), additional_headers=HOSTILE,
    ) as client:  # fmt: skip
        client.send("hello")
        assert client.recv(5) == "hello"


def test_http2_is_offered_and_carries_a_page(site):
    here = f"{WIKI}:{site.port}"
    asked = ("--http2", "--cacert", str(site.certificates.ca_file), "--resolve", f"{here}:127.0.0.1")
    said = ("--silent", "--show-error", "--write-out", "%{http_version} %{http_code}", "--output", os.devnull)
    done = subprocess.run(["curl", *asked, *said, f"https://{here}/page"], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("2 200", "")


def test_a_stream_arrives_as_it_is_sent(site, upstream):
    def two_events(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        assert arrived.wait(10)
        connection.send(b"data: 2\n\n")
        connection.close()

    arrived = threading.Event()
    upstream.reply(two_events, path="/events")
    options = {"tls": site.certificates.client_context(), "server_hostname": WIKI}
    with raw.RawClient(("127.0.0.1", site.port), **options) as client:
        client.send(raw.request(target="/events", host=f"{WIKI}:{site.port}"))
        head = client.read_head()
        assert (head.status, client.read_chunk()) == (200, b"data: 1\n\n")
        arrived.set()
        assert client.read_chunk() == b"data: 2\n\n"


@pytest.mark.parametrize("host", ["wiki.example.com", "gateway.example.com"])
def test_sign_in_comes_back_to_the_host_that_was_visited(site, host):
    response = site.request("/auth/login?provider=github&next=/private", *HOSTILE, host=host)
    assert (response.status, urlsplit(response.header("location")).netloc) == (302, "github.com")
    (back,) = parse_qs(urlsplit(response.header("location")).query)["redirect_uri"]
    assert back == f"https://{host}:{site.port}/auth/callback/github"


def test_sign_in_by_way_of_the_public_host_goes_there(site):
    response = site.request("/auth/login?provider=corp&next=/private", *HOSTILE)
    assert (response.status, response.header("location").partition("?for=")[0]) == (
        302, f"https://gateway.example.com:{site.port}/auth/login",
    )  # fmt: skip
    there = urlsplit(response.header("location"))
    response = site.request(f"{there.path}?{there.query}", *HOSTILE, host="gateway.example.com")
    (back,) = parse_qs(urlsplit(response.header("location")).query)["redirect_uri"]
    assert back == f"https://gateway.example.com:{site.port}/auth/callback/corp"


def test_behind_the_usual_lines_a_forwarded_host_or_port_of_the_client_leads_nowhere(behind, upstream, tmp_path):
    with closing(start("nginx", USUAL, behind, tmp_path)):
        for header in (("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Port", "444")):
            for host in ("wiki.example.com", "gateway.example.com"):
                assert behind.request("/any", header, host=host).status == 400
        assert upstream.requests == []
        assert behind.request("/any").status == 200
