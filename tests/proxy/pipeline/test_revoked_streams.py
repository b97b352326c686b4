"""What a credential let in ends when the credential does: streams, downloads and uploads, within a second."""

from __future__ import annotations

import base64
import json
import threading
import time

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.http2 import Http2Client, head
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, run
from tests.support.streams import BLOCK, Events, Torrent, wait_until

SOON = 1.5  # seconds: one, and the time that a busy machine takes
ACTOR = "from authgate.policy.powers import Machine\nactor = Machine('test')\n"


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["http1", "http2"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("revoked") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, args=request.param) as started:
        yield started.start()


def jti_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]


class Caller:
    """With a token or a session of its own, and every way to lose it."""

    def __init__(self, site, name, by_cookie=False):
        self.site, self.name = site, name
        if by_cookie:
            self.made = make_session(site, name, slug="main", provider={"issuer": "https://id.example.com"})
            self.subject, self.headers = f"main|{name}", self.made.headers
        else:
            self.token, self.subject = site.mint(name, fresh=True), name
            self.headers = [("Authorization", f"Bearer {self.token}")]

    def get(self, path, method="GET", *headers):
        return raw.request(method, path, [*self.headers, *headers], host=f"localhost:{self.site.port}")

    def by_token_id(self):
        self.site.shell.command("revoke", f"--jti={jti_of(self.token)}")

    def by_subject(self):
        self.site.shell.command("revoke", "--subject", self.subject)

    def by_session(self):
        self.site.shell.command("revoke", f"--session={self.made.sid}")

    def by_deactivation(self):
        code = "from authgate.sessions.activation import deactivate\n"
        run(self.site, ACTOR + code + "deactivate(Session.objects.get(sid=options['sid']).person, actor)",
            sid=self.made.sid)  # fmt: skip


WAYS = [("by_token_id", False), ("by_subject", False), ("by_subject", True), ("by_session", True),
        ("by_deactivation", True)]  # fmt: skip


@pytest.mark.parametrize(("way", "by_cookie"), WAYS)
def test_an_event_stream_ends_with_the_credential_and_others_go_on(site, upstream, way, by_cookie):
    upstream.reply(events := Events())
    caller, other = Caller(site, f"{way}-{by_cookie}", by_cookie), Caller(site, "other")
    with site.connect() as client, site.connect() as beside, site.connect() as stranger:
        for connection, request in (
            (client, caller.get("/api/protected/mine")),
            (beside, other.get("/api/protected/theirs")),
            (stranger, raw.request("GET", "/api/public/x", host=f"localhost:{site.port}")),
        ):
            assert connection.send(request).read_head().status == 200
        getattr(caller, way)()
        began = time.monotonic()
        assert client.read_all() == b""  # not even the last chunk: it shows that something is missing
        assert time.monotonic() - began < SOON
        assert wait_until(lambda: events.closed == 1)  # the service has learned of it
        events.send(b"goes on")
        assert (beside.read_chunk(), stranger.read_chunk()) == (b"goes on", b"goes on")
    [line] = site.log_lines(wait_for=1, path="/api/protected/mine", sub=caller.subject)
    assert (line["status"], line["cut"], line["decision"]) == (200, "revoked", "allow")
    assert f"request_id={line['request_id']}" not in site.output  # it is no fault of the service's


def test_a_download_nobody_reads_is_cut_too(site, upstream):
    upstream.reply(torrent := Torrent(1024))
    caller = Caller(site, "download")
    with site.connect(receive_buffer=65536) as client:
        client.send(caller.get("/api/protected/large"))
        assert client.read_head().status == 200
        assert wait_until(torrent.stands_still, 10)
        caller.by_token_id()
        assert torrent.ended.wait(SOON)
        assert torrent.sent < 1024
    [line] = site.log_lines(wait_for=1, path="/api/protected/large", timeout=65 if site.args else 5)
    assert line["cut"] == "revoked" or site.args


def test_a_running_download_is_visibly_not_whole(site, upstream):
    upstream.reply(Torrent(4096, block=BLOCK))
    caller = Caller(site, "running")
    with site.connect() as client:
        client.send(caller.get("/api/protected/running"))
        length = int(client.read_head().header("content-length"))
        threading.Timer(0.2, caller.by_token_id).start()
        taken = 0
        while piece := client.read_some():
            taken += len(piece)
        assert taken < length
    [line] = site.log_lines(wait_for=1, path="/api/protected/running")
    assert line["cut"] == "revoked"


def test_an_upload_is_refused_in_the_midst_of_it(site, upstream):
    gone = threading.Event()

    def swallow(connection, request):
        connection.wait_closed(30)
        gone.set()

    upstream.reply(swallow)
    caller = Caller(site, "upload")
    with site.connect() as client:
        client.send(caller.get("/api/protected/upload", "POST", ("Content-Length", "1000000")) + b"a" * 1000)
        assert wait_until(lambda: len(upstream.requests) == 1)
        caller.by_token_id()
        answer = client.response()
        assert (answer.status, json.loads(answer.body)["reason"]) == (401, "token_revoked")
    assert gone.wait(SOON)
    [line] = site.log_lines(wait_for=1, path="/api/protected/upload")
    assert (line["status"], line["reason"]) == (401, "token_revoked")


def test_a_request_that_waits_for_its_answer_is_refused(site, upstream):
    upstream.reply(lambda connection, request: connection.wait_closed(30))
    caller = Caller(site, "waiting")
    with site.connect() as client:
        client.send(caller.get("/api/protected/slow"))
        assert wait_until(lambda: len(upstream.requests) == 1)
        caller.by_subject()
        answer = client.response()
        assert (answer.status, json.loads(answer.body)["reason"]) == (401, "token_revoked")


def test_a_body_that_comes_after_the_revocation_reaches_no_service(site, upstream):
    caller = Caller(site, "late")
    with site.connect() as client:
        client.send(caller.get("/api/protected/late", "POST", ("Content-Length", "5"), ("Expect", "100-continue")))
        assert client.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.by_token_id()
        time.sleep(SOON)
        assert client.send(b"hello").response().status == 401
    assert upstream.requests == []


def test_the_streams_of_one_http2_connection_end_one_by_one(start_gateway, upstream):
    upstream.reply(events := Events())
    gateway = start_gateway(args=("--http2",))
    revoked, other = Caller(gateway, "one"), Caller(gateway, "two")
    with Http2Client(gateway.address) as client:
        first, second = (
            client.open(head("/api/protected/x", "GET", ("authorization", f"Bearer {caller.token}"),
                             authority=f"localhost:{gateway.port}"), end=True)
            for caller in (revoked, other)
        )  # fmt: skip
        assert client.wait_for(lambda: {first, second} <= client.answers.keys())
        revoked.by_token_id()
        assert client.wait_for(lambda: first in client.ended, SOON)
        assert wait_until(lambda: events.closed == 1)
        events.send(b"goes on")
        assert client.wait_for(lambda: b"goes on" in client.answers[second])
        assert second not in client.ended
    [line] = gateway.log_lines(wait_for=1, sub="one")
    assert line["cut"] == "revoked"


def test_a_retired_key_ends_what_its_tokens_let_in(start_gateway, upstream):
    upstream.reply(Events())
    gateway = start_gateway()
    caller = Caller(gateway, "alice")
    with gateway.connect() as client:
        assert client.send(caller.get("/api/protected/x")).read_head().status == 200
        run(gateway, ACTOR + "from authgate.state import signing_keys\n"
            "signing_keys.retire(signing_keys.find_current(signing_keys.Purpose.TOKENS), actor)")  # fmt: skip
        assert client.read_all() == b""
    assert gateway.log_lines(wait_for=1, cut="revoked")


def test_what_a_service_token_let_in_ends_with_it(site, upstream):
    upstream.reply(events := Events())
    token = site.shell.command("service_token", "create", "streams", "--quiet").strip()
    with site.connect() as client:
        request = raw.request("GET", "/api/protected/token", host=f"localhost:{site.port}", token=token)
        assert client.send(request).read_head().status == 200
        site.shell.command("service_token", "revoke", "streams")
        assert client.read_all() == b""
        assert wait_until(lambda: events.closed == 1)
    [line] = site.log_lines(wait_for=1, path="/api/protected/token", sub="service|streams")
    assert (line["cut"], line["credential"]) == ("revoked", "service_token")
