"""Many streams at once from a client that nobody here wrote: nghttp2's h2load."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.support.certificates import make_certificates
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.scripted import answer

H2LOAD = shutil.which("h2load")
pytestmark = pytest.mark.skipif(H2LOAD is None, reason="needs h2load (nghttp2-client)")

CLIENTS, STREAMS, REQUESTS = 10, 50, 2000
ENDED = re.compile(
    r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
)
STATUSES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["h2c", "h2"])
def site(request, gateway_template, session_upstream, certificates, tmp_path_factory):
    with_tls = request.param == "h2"
    files = ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))
    data_dir, policy = tmp_path_factory.mktemp("load") / "data", demo_policy(session_upstream.target)
    args = ("--http2", *(files if with_tls else ()))
    with Gateway(data_dir, template=gateway_template, policy=policy, args=args, tls=with_tls) as started:
        yield started.start()


def load(site, path, *options):
    """Counts of requests: all, begun, done, succeeded, failed, with errors, timed out; and of statuses 2xx to 5xx."""
    url = f"{site.url}{path}"
    command = [H2LOAD, f"-n{REQUESTS}", f"-c{CLIENTS}", f"-m{STREAMS}", "--connection-active-timeout=60", *options, url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90)
    ended, statuses = ENDED.search(ran.stdout), STATUSES.search(ran.stdout)
    assert ended is not None, ran.stdout + ran.stderr
    assert statuses is not None, ran.stdout
    return [int(count) for count in ended.groups()], [int(count) for count in statuses.groups()]


def test_every_request_is_answered(site, upstream):
    upstream.reply(answer(body=b"hello"))
    header = f"Authorization: Bearer {site.mint('many')}"
    assert load(site, "/api/protected/x", "-H", header) == ([REQUESTS] * 4 + [0] * 3, [REQUESTS, 0, 0, 0])


def test_every_refusal_arrives_and_nothing_reaches_the_service(site, upstream):
    counts, statuses = load(site, "/api/protected/x")
    assert (counts[2], counts[5:], statuses) == (REQUESTS, [0, 0], [0, 0, REQUESTS, 0])
    assert upstream.requests == []


def test_every_upload_arrives_whole(site, upstream, tmp_path):
    upstream.reply(answer(body=b"taken"))
    (tmp_path / "body").write_bytes(b"x" * 40_000)
    assert load(site, "/api/public/x", "-d", str(tmp_path / "body"))[1] == [REQUESTS, 0, 0, 0]
    assert {request.body_length for request in upstream.requests} == {40_000}
    assert len(upstream.requests) == REQUESTS
