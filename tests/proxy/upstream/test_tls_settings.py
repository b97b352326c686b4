"""TLS to upstreams as the policy says: authorities, names, client certificates, versions; files that change."""

from __future__ import annotations

import os
import shutil
import ssl
import time

import pytest

from tests.support.certificates import make_certificates
from tests.support.gateway import Gateway
from tests.support.scripted import answer, assert_refusal
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Of an authority that nobody trusts by default, for localhost and service.internal."""
    return make_certificates(tmp_path_factory.mktemp("own"), "service.internal")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("other"))


def mutual(own) -> ssl.SSLContext:
    context = own.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(own.ca_file)
    return context


def only_1_2(own) -> ssl.SSLContext:
    context = own.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.fixture(scope="module")
def services(own):
    contexts = {"plain": own.server_context(), "mutual": mutual(own), "old": only_1_2(own)}
    made = {name: RecordingUpstream(tls=context) for name, context in contexts.items()}
    yield made
    for service in made.values():
        service.stop()


@pytest.fixture(scope="module")
def files(own, tmp_path_factory):
    """Those that a test changes."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(own.ca_file, folder / "ca.pem")
    return folder


@pytest.fixture(scope="module")
def tls(gateway_template, services, own, other, files, tmp_path_factory):
    port, ca = services["plain"].port, own.ca_file
    client = f"client_cert_file: {own.cert_file}, client_key_file: {own.key_file}"
    stranger = f"client_cert_file: {other.cert_file}, client_key_file: {other.key_file}"
    upstreams = {
        "ca": (port, f"ca_file: {ca}"),
        "none": (port, ""),
        "wrongca": (port, f"ca_file: {other.ca_file}"),
        "name": (port, f"ca_file: {ca}, server_name: service.internal"),
        "wrongname": (port, f"ca_file: {ca}, server_name: other.internal"),
        "mutual": (services["mutual"].port, f"ca_file: {ca}, {client}"),
        "nobody": (services["mutual"].port, f"ca_file: {ca}"),
        "stranger": (services["mutual"].port, f"ca_file: {ca}, {stranger}"),
        "old": (services["old"].port, f'ca_file: {ca}, min_version: "1.2"'),
        "tooold": (services["old"].port, f'ca_file: {ca}, min_version: "1.3"'),
        "missing": (port, f"ca_file: {files}/missing.pem"),
        "changing": (port, f"ca_file: {files}/ca.pem"),
        "mixed": (port, f"ca_file: {ca}, client_cert_file: {own.cert_file}, client_key_file: {other.key_file}"),
    }
    lines = [
        f'  {name}: {{targets: ["https://localhost:{port}"], tls: {{{settings}}}}}'
        for name, (port, settings) in upstreams.items()
    ]
    routes = [f"  - {{name: {name}, path: /{name}, access: public, upstream: {name}}}" for name in upstreams]
    text = "\n".join(["version: 1", "upstreams:", *lines, "routes:", *routes, ""])
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"}
    with Gateway(tmp_path_factory.mktemp("tls") / "data", template=gateway_template, policy=text, env=env) as gateway:
        yield gateway.start()
        assert "Traceback" not in gateway.output


@pytest.fixture(autouse=True)
def close_each(services):
    for service in services.values():
        service.clear()
        service.reply(answer(body=b"hello"))


@pytest.mark.parametrize("name", ["ca", "name", "mutual", "old"])
def test_a_service_that_proves_itself_is_asked(tls, name):
    assert tls.get(f"/{name}").body == b"hello"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "its certificate is not trusted: "),
        ("wrongca", "its certificate is not trusted: "),
        ("wrongname", "its certificate is not trusted: Hostname mismatch"),
        ("nobody", ""),
        ("stranger", ""),
        ("tooold", "TLS failed: TLSV1_ALERT_PROTOCOL_VERSION"),
        ("missing", "missing.pem: No such file or directory"),
        ("mixed", "KEY_VALUES_MISMATCH"),
    ],
)
def test_one_that_does_not_gets_nothing_and_the_log_says_why(tls, services, name, words):
    seen = len(tls.output)
    # Lines are limited for each client.
    assert_refusal(tls.get(f"/{name}", headers=[("X-Forwarded-For", f"10.0.0.{len(name)}")]), 502)
    assert [service.requests for service in services.values()] == [[], [], []]
    assert words in told(tls, seen, f"upstream {name}, target")


def told(gateway, seen, words) -> str:
    """The first line with these words: it may be written after the response."""
    deadline = time.monotonic() + 5
    while not (lines := [line for line in gateway.output[seen:].splitlines() if words in line]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return lines[0]


def test_files_that_change_are_read_again(tls, services, own, other, files):
    services["plain"].reply(answer("Connection: close", body=b"hello"))
    assert tls.get("/changing").status == 200
    replace(files / "ca.pem", other.ca_file)
    assert_refusal(tls.get("/changing"), 502)
    replace(files / "ca.pem", own.ca_file)
    assert tls.get("/changing").status == 200


def replace(path, source):
    shutil.copy(source, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)
