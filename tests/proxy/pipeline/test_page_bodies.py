"""Bodies that strangers send to the gateway's own pages: no more than a page reads, no longer than it takes."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.wire.authority import Authority
from authgate.wire.headers import Headers
from proxy.pipeline import page_bodies
from proxy.pipeline.budget import Budget, BudgetSpent, Loan
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.http2 import Http2Client, head
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, run
from tests.support.streams import Memory

FORM = ("Content-Type", "application/x-www-form-urlencoded")
LARGE = 2_600_000
ADMIN_POLICY = """\
version: 1
roles: {root: {admin: superuser}}
grants: [{role: root, when: {authenticated: true}}]
upstreams: {}
routes: []
"""


SERVERS = {"http1": (), "http2": ("--http2",)}
by_http2 = pytest.mark.parametrize("any_gateway", ["http2"], indirect=True)


@pytest.fixture(scope="module", params=SERVERS)
def any_gateway(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("bodies") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, args=SERVERS[request.param]) as gateway:
        yield gateway.start()


def announce(gateway, path, length, *headers):
    fields = [FORM, ("Content-Length", str(length)), *headers]
    return raw.request("POST", path, fields, host=f"localhost:{gateway.port}")


@pytest.mark.parametrize("args", SERVERS.values(), ids=SERVERS)
def test_unfinished_bodies_of_strangers_cost_no_memory(start_gateway, args):
    gateway = start_gateway(args=args)
    memory = Memory(gateway)
    with ExitStack() as kept:
        for number in range(100):
            path = ("/admin/login/", "/auth/me", "/auth/login", "/dashboard")[number % 4]
            client = kept.enter_context(gateway.connect())
            client.send(announce(gateway, path, LARGE))
            for _ in range(40):
                try:
                    client.send(b"a" * 65536)
                except OSError:
                    break  # nothing more is read
        assert memory.grown() < 24


@by_http2
@pytest.mark.parametrize("path", ["/auth/me", "/dashboard", "/health", "/static/authgate/site.css"])
def test_over_http2_a_body_that_nothing_announced_is_refused_and_ends(any_gateway, path):
    with Http2Client(any_gateway.address) as client:
        stream = client.open(head(path, "POST", authority=f"localhost:{any_gateway.port}"), end=False)
        client.send_body(stream, b"a" * 5000)
        client.finish(stream)
        assert client.wait_for(lambda: stream in client.ended)
        assert client.reasons() == ["body_too_large"]


@pytest.mark.parametrize("path", ["/auth/me", "/auth/login", "/dashboard", "/health", "/static/authgate/site.css"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("framing", [("Content-Length", "5"), ("Transfer-Encoding", "chunked")])
def test_a_page_that_reads_no_body_gets_none(gateway, path, method, framing):
    with gateway.connect() as client:
        client.send(raw.request(method, path, [framing], host=f"localhost:{gateway.port}"))
        answer = client.response()
        assert (answer.status, answer.json()["reason"]) == (413, "body_too_large")
        assert client.is_closed()


@pytest.mark.parametrize(
    "path", ["/admin/login/", "/auth/logout", "/auth/sessions/end", "/auth/backchannel-logout/x", "/dashboard/tokens"]
)
def test_a_form_of_a_stranger_has_64_kib(any_gateway, path):
    with any_gateway.connect() as client:
        answer = client.send(announce(any_gateway, path, 65537)).response()
        assert (answer.status, answer.json()["reason"]) == (413, "body_too_large")
    answer = any_gateway.request(path, method="POST", headers=[FORM], body=b"a" * 65536)
    assert answer.status != 413


def test_a_chunked_form_is_counted_while_it_comes(any_gateway):
    with any_gateway.connect() as client:
        client.send(raw.request("POST", "/admin/login/", [("Transfer-Encoding", "chunked")]))
        for _ in range(9):
            client.send(b"2000\r\n" + b"a" * 8192 + b"\r\n")
        assert client.response().status == 413


@pytest.mark.parametrize("cookie", ["authgate_admin=madeupmadeupmadeupmadeupmadeup12", "auth_token=a.b.c", ""])
@pytest.mark.parametrize("path", ["/admin/", "/admin/authgate/route/add/"])
def test_a_made_up_cookie_makes_nobody_an_administrator(gateway, path, cookie):
    with gateway.connect() as client:
        answer = client.send(announce(gateway, path, 65537, ("Cookie", cookie))).response()
    assert (answer.status, answer.json()["reason"]) == (413, "body_too_large")


LOCAL_SESSION = """
from django.contrib.auth.models import User
from django.contrib.auth import SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
user = User.objects.create_user("someone", password="x", is_staff={staff})
store = SessionStore()
store[SESSION_KEY], store[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
store.save()
print(store.session_key)
"""


@pytest.mark.parametrize(("staff", "status"), [(True, 403), (False, 413)])
def test_a_local_administrator_may_send_a_large_form(start_gateway, staff, status):
    """403: Django has read it, and misses its token."""
    gateway = start_gateway()
    cookie = ("Cookie", f"authgate_admin={run(gateway, LOCAL_SESSION.format(staff=staff)).strip()}")
    body = b"a=" + b"a" * 2_000_000
    assert gateway.request("/admin/", method="POST", headers=[FORM, cookie], body=body).status == status
    with gateway.connect() as client:
        assert client.send(announce(gateway, "/admin/", LARGE + 30_000, cookie)).response().status == 413


def test_an_administrator_by_single_sign_on_may_send_a_large_form(start_gateway):
    gateway = start_gateway(policy=ADMIN_POLICY)
    made = make_session(gateway, "alice")
    body = b"a=" + b"a" * 2_000_000
    assert gateway.request("/admin/", method="POST", headers=[FORM, *made.headers], body=body).status == 403
    assert gateway.request("/admin/login/", method="POST", headers=[FORM, *made.headers], body=body).status == 413


def read(*pieces, client="192.0.2.1", path="/admin/login/"):
    """What becomes of a body of which these come, and then nothing."""
    host = Authority("localhost", None)
    headers = Headers([(b"transfer-encoding", b"chunked")])
    facts = RequestFacts("POST", "http", host, path, b"", client, client, headers)
    left = iter(pieces)

    async def receive():
        for piece in left:
            return {"type": "http.request", "body": piece, "more_body": piece != b"end"}
        return await asyncio.Event().wait()

    async def run():
        async with asyncio.timeout(5):
            with Loan(page_bodies.budget, client) as loan:
                return await page_bodies.read_body(facts, None, receive, loan)

    return asyncio.run(run())


def reason_of(refused):
    return refused.value.reason


def test_a_body_has_a_time_as_a_whole(monkeypatch):
    """However often a byte of it comes."""
    monkeypatch.setattr(page_bodies, "SECONDS", 0.1)
    with pytest.raises(page_bodies.BodyRefused) as refused:
        read(b"a", b"b")
    assert reason_of(refused) is Reason.BODY_TIMEOUT
    assert page_bodies.budget.lent == 0


def test_all_bodies_together_are_bounded_and_each_client_has_a_part(monkeypatch):
    monkeypatch.setattr(page_bodies, "budget", budget := Budget(total=10_000, share=6_000, free=1_000))
    with (
        Loan(budget, "2001:db8::1") as first,
        Loan(budget, "2001:db8::2") as neighbour,
        Loan(budget, "192.0.2.9") as other,
    ):
        first.grow(5_000)
        with pytest.raises(BudgetSpent):
            neighbour.grow(3_001)  # of the same /64
        other.grow(6_500)
        with pytest.raises(page_bodies.BodyRefused) as refused:
            read(b"a" * 2_000, b"end")
        assert reason_of(refused) is Reason.BUSY
        assert read(b"a" * 900, b"end") == b"a" * 900 + b"end"  # so little, anybody may
    assert (budget.lent, budget.lent_to) == (0, {})
