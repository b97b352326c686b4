"""The public URL behind nginx, which breaks one thing after the other: each is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.certificates import Certificates, make_certificates
from tests.support.doctor import examine, good, wrong
from tests.support.front import Front, FrontMissing, documented
from tests.support.gateway import Gateway, free_port

URL = "public URL"
SERVER = """\
map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
server {{
    listen 443 ssl;
    ssl_certificate /etc/ssl/gateway.pem;
    ssl_certificate_key /etc/ssl/gateway.key;
    location / {{
        # 127.0.0.1:8000
        {lines}
    }}
}}
"""
GOOD = """\
proxy_pass http://127.0.0.1:8000;
proxy_http_version 1.1;
proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-Host $http_host;
proxy_set_header X-Forwarded-Port $server_port;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $connection_upgrade;
"""


class Site(NamedTuple):
    gateway: Gateway
    port: int
    certificates: Certificates


@pytest.fixture(scope="module")
def site(gateway_template: Path, session_upstream: Any, tmp_path_factory: Any) -> Iterator[Site]:
    directory, port = tmp_path_factory.mktemp("public"), free_port()
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1", "AUTHGATE_PUBLIC_URL": f"https://localhost:{port}"}
    with Gateway(directory / "data", template=gateway_template, env=env) as gateway:
        yield Site(gateway.start(), port, make_certificates(directory))


def through(site: Site, lines: str, directory: Path, *, certificates: Certificates | None = None) -> Any:
    shown = certificates or site.certificates
    try:
        front = Front("nginx", SERVER.format(lines=lines), site.port, site.gateway.port, shown, directory)
    except FrontMissing as missing:
        pytest.skip(str(missing))
    with closing(front):
        return examine(site.gateway, SSL_CERT_FILE=str(shown.ca_file))


def test_a_proxy_that_is_set_up_well_has_nothing_wrong(site, tmp_path):
    findings = through(site, GOOD, tmp_path)
    assert wrong(findings, URL) == {}
    assert list(good(findings, URL)) == [
        "certificate", "reach", "scheme", "host", "client address", "forwarded headers", "cookies", "WebSocket",
    ]  # fmt: skip


def test_a_certificate_that_is_not_trusted_is_no_matter_of_the_network(site, tmp_path):
    shown = make_certificates(tmp_path)
    try:
        front = Front("nginx", SERVER.format(lines=GOOD), site.port, site.gateway.port, shown, tmp_path)
    except FrontMissing as missing:
        pytest.skip(str(missing))
    with closing(front):
        findings = examine(site.gateway, SSL_CERT_FILE=str(site.certificates.ca_file))
    (remedy,) = [found["remedy"] for found in findings if (found["subject"], found["name"]) == (URL, "reach")]
    assert remedy.startswith("Bring a certificate that visitors trust")


@pytest.mark.parametrize("program", ["nginx", "haproxy", "caddy"])
def test_behind_a_documented_proxy_nothing_is_wrong(site, tmp_path, program):
    text = documented({"caddy": "caddyfile"}.get(program, program))
    if program == "caddy":
        text = f"https://localhost:{site.port}, {text}"
    text = text.replace("server_name gateway.example.com", "server_name localhost gateway.example.com")
    try:
        front = Front(program, text, site.port, site.gateway.port, site.certificates, tmp_path)
    except FrontMissing as missing:
        pytest.skip(str(missing))
    with closing(front):
        assert wrong(examine(site.gateway, SSL_CERT_FILE=str(site.certificates.ca_file)), URL) == {}


# What a line is replaced by; the name of the finding, its level, and some of its words.
BROKEN = {
    "no proto": ("X-Forwarded-Proto $scheme", 'Accept ""', "scheme", "error", "sends no X-Forwarded-Proto"),
    "proto http": ("Proto $scheme", "Proto http", "scheme", "error", "sends X-Forwarded-Proto: http"),
    "cookies there": ("Upgrade $http_upgrade", 'Cookie ""', "cookies", "error", "drops the visitors' cookies"),
    "cookies back": (
        "proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_hide_header Set-Cookie;",
        "cookies", "error", "drops the gateway's cookies",
    ),
    "cookies changed": (
        "proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_cookie_flags ~ nosecure;",
        "cookies", "error", "Secure is missing",
    ),
    "large cookies": (
        "proxy_http_version 1.1;",
        "proxy_http_version 1.1; proxy_buffer_size 2k; proxy_buffers 4 2k; proxy_busy_buffers_size 4k;",
        "cookies", "error", "as large as a session's is refused",
    ),
    "no upgrade": ("Upgrade $http_upgrade", 'Upgrade ""', "WebSocket", "warning", "does not reach the gateway"),
    "address passed on": (
        "For $remote_addr", "For $http_x_forwarded_for",
        "X-Forwarded-For", "error", "anybody chooses the address",
    ),
    "no address": ("For $remote_addr", 'For ""', "client address", "error", "sends no X-Forwarded-For"),
    "host passed on": (
        "X-Forwarded-Host $http_host", 'Accept ""',
        "X-Forwarded-Host", "warning", "requests with it are refused",
    ),
    "port passed on": (
        "X-Forwarded-Host $http_host;\nproxy_set_header X-Forwarded-Port $server_port", "X-Forwarded-Host $host",
        "X-Forwarded-Port", "warning", "requests with it are refused",
    ),
    "another host": ("Host $http_host", "Host $proxy_host", "host", "error", "instead of localhost"),
    "redirect": (GOOD, "return 301 https://elsewhere.example/;", "reach", "error", "redirects to"),
    "another service": (GOOD, "return 200 hello;", "reach", "error", "something else answers there"),
    "nothing behind": ("proxy_pass http://127.0.0.1:8000", "proxy_pass http://127.0.0.1:9", "reach", "error", "502"),
    "path taken": (GOOD, "return 404;", "reach", "error", "status 404"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_a_proxy_breaks_is_named(site, tmp_path, case):
    before, after, name, level, words = BROKEN[case]
    assert before in GOOD
    found = wrong(through(site, GOOD.replace(before, after), tmp_path), URL)
    assert name in found, found
    assert found[name][0] == level
    assert words in found[name][1]


def test_nothing_else_is_named_with_it(site, tmp_path):
    for case in ("no upgrade", "cookies back", "proto http", "host passed on"):
        before, after, name, *_ = BROKEN[case]
        directory = tmp_path / name.replace(" ", "")
        directory.mkdir(exist_ok=True)
        assert list(wrong(through(site, GOOD.replace(before, after), directory), URL)) == [name]


def test_a_proxy_that_is_not_trusted_is_named_with_its_address(gateway_template, site, tmp_path):
    env = {"AUTHGATE_PUBLIC_URL": f"https://localhost:{site.port}"}
    with Gateway(tmp_path / "data", template=gateway_template, env=env) as gateway:
        found = wrong(through(site._replace(gateway=gateway.start()), GOOD, tmp_path), URL)
    assert found["scheme"] == (
        "error", "the gateway sees http: the connection comes from 127.0.0.1, which is not trusted",
    )  # fmt: skip


def test_a_certificate_that_ends_soon_and_one_that_has_ended_are_named(site, tmp_path):
    for days, name, level, words in (
        (3, "certificate", "warning", "for 2 days"),
        (-1, "reach", "error", "certificate has expired"),
    ):
        directory = tmp_path / str(days)
        directory.mkdir()
        found = wrong(through(site, GOOD, directory, certificates=make_certificates(directory, days=days)), URL)
        assert found[name][0] == level
        assert words in found[name][1]


def test_a_certificate_of_nobody_who_is_trusted_is_named(site, tmp_path):
    certificates = make_certificates(tmp_path)
    with closing(Front("nginx", SERVER.format(lines=GOOD), site.port, site.gateway.port, certificates, tmp_path)):
        found = wrong(examine(site.gateway), URL)
    assert "no certificate that is trusted here" in found["reach"][1]


def test_a_gateway_that_does_not_run_is_named(site):
    assert "Connection refused" in wrong(examine(site.gateway), URL)["reach"][1]


def test_a_gateway_with_another_secret_key_is_not_taken_for_this_one(start_gateway):
    gateway = start_gateway()
    found = wrong(examine(gateway, AUTHGATE_SECRET_KEY="another secret key of more than thirty-two characters"), URL)
    assert "another AUTHGATE_SECRET_KEY" in found["reach"][1]
