"""A WebSocket or an event stream ends when what let its caller in is gone: not before, and soon after."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed

from proxy.websocket import close_frame
from tests.support import raw
from tests.support.clock import Clock
from tests.support.gateway import Gateway
from tests.support.introspecting import IntrospectingIssuer, add_issuer, remove_issuer
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, row, run
from tests.support.streams import Events, wait_until
from tests.support.websocket import ACCEPT, WebSocketService, handshake, websocket

SOON = 2.0  # seconds
SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()
MAIN = {"slug": "main", "provider": {"issuer": "https://id.example.com", "session_idle": 86400}}
ROUTES = """\
  - {name: events, path: /events, access: authenticated, upstream: events}
  - {name: late, path: /late, access: authenticated, upstream: events}
  - {name: team, path: /team, access: roles, roles: [member], upstream: api}
  - {name: opaque, path: /opaque, access: authenticated, issuers: [asked], upstream: api}
  - {name: team-events, path: /team/events, access: roles, roles: [member], upstream: events}
"""


def policy_of(service, events):
    text = demo_policy(service.target).replace(
        "roles:\n", f'  events: {{targets: ["{events}"], timeouts: {{idle: 600}}}}\nroles:\n  member: {{}}\n', 1
    )
    grant = "  - {role: member, when: {claim: groups, contains: team}}\n"
    return text.replace("grants:\n", f"grants:\n{grant}", 1) + ROUTES


@pytest.fixture(scope="module")
def service():
    with WebSocketService() as started:
        yield started


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def policy(service, session_upstream):
    return policy_of(service, session_upstream.target)


@pytest.fixture(scope="module")
def running(gateway_template, policy, tmp_path_factory, clock):
    data_dir = tmp_path_factory.mktemp("standing") / "data"
    env = {**clock.env, "AUTHGATE_PERSONAL_TOKEN_DAYS": "30"}
    with Gateway(data_dir, template=gateway_template, policy=policy, env=env) as started:
        yield started.start()
        assert "never retrieved" not in started.output


@pytest.fixture
def site(running, policy):
    yield running
    running.import_policy(policy)


class Socket:
    def __init__(self, client):
        self.client = client

    def ending(self):
        """Code and reason."""
        with pytest.raises(ConnectionClosed) as closed:
            self.client.recv(timeout=SOON + 5)
        received = closed.value.rcvd
        return (received.code, received.reason) if received is not None else None

    def lives(self):
        self.client.send("ping")
        return self.client.recv(timeout=5) == "ping"


class Stream:
    def __init__(self, client):
        self.client = client

    def ends(self):
        began = time.monotonic()
        return self.client.read_all() == b"" and time.monotonic() - began < SOON


@pytest.fixture
def opened(site):
    """Of a WebSocket, or with `headers` of an event stream."""
    with ExitStack() as stack:

        def open_one(path, headers=None, **options):
            if headers is None:
                return Socket(stack.enter_context(websocket(site, path, **options)))
            client = stack.enter_context(site.connect())
            client.send(raw.request("GET", path, headers, host=f"localhost:{site.port}"))
            assert client.read_head().status == 200
            return Stream(client)

        yield open_one


def later(clock, seconds):
    """Never back: what was made for one test is too old for the next."""
    clock.set_ahead(clock.ahead + seconds)


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


def jti_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]


# -- what is taken away -------------------------------------------------------------------------------------------


def test_a_revoked_token_closes_its_websocket_and_no_other(site, opened):
    token = site.mint("revoked", fresh=True)
    mine, other = opened("/api/protected/mine/echo", token=token), opened("/api/public/echo")
    began = time.monotonic()
    site.shell.command("revoke", f"--jti={jti_of(token)}")
    assert mine.ending() == (4401, "revoked")
    assert time.monotonic() - began < SOON
    assert other.lives()
    [line] = site.log_lines(wait_for=1, path="/api/protected/mine/echo")
    assert (line["status"], line["cut"], line["decision"]) == (101, "revoked", "allow")


def test_a_session_that_ends_closes_its_websocket(site, opened):
    made = make_session(site, "leaver", **MAIN)
    headers = {"Cookie": f"auth_token={made.cookie}"}
    mine = opened("/api/protected/echo", origin=site.url, additional_headers=headers)
    assert mine.lives()
    site.shell.command("revoke", "--session", made.sid)
    assert mine.ending() == (4401, "revoked")


def test_a_role_that_is_no_longer_granted_closes_both(site, opened, upstream, policy):
    upstream.reply(Events())
    token = site.mint("member", claims={"groups": '["team"]'}, fresh=True)
    mine, stream = opened("/team/echo", token=token), opened("/team/events/x", bearer(token))
    site.import_policy(policy.replace("contains: team", "contains: another-team"))
    assert stream.ends()
    assert mine.ending() == (4403, "missing_role")
    [line] = site.log_lines(wait_for=1, path="/team/events/x")
    assert (line["cut"], line["decision"]) == ("missing_role", "allow")


PERSON = """
from django.db import transaction
from authgate.models.service_tokens import ServiceToken
from authgate.oidc.claims import ProvenPerson
from authgate.policy.powers import Machine
from authgate.sessions import activation
from authgate.state import service_tokens
person = Person.objects.select_related("provider").get(provider_subject=options["subject"])
"""
PERSONAL = """
person.claims = {"groups": ["team"]}
person.save()
row = ServiceToken(person=person, name="laptop", owner="x", roles=["member"], created_by="x")
with transaction.atomic():
    print(service_tokens.make(row, timedelta(days=1), timedelta(days=1)).token)
"""
ENDS = {
    "member": (
        "proven = ProvenPerson(subject=person.provider_subject, email='', name='', claims={'groups': []})\n"
        "with transaction.atomic(): store.describe(person, proven)",
        (4403, "missing_role"),
    ),
    "everything": ("activation.deactivate(person, Machine('test'))", (4401, "revoked")),
}


@pytest.mark.parametrize("lost", ENDS)
def test_what_a_person_has_lost_closes_the_websockets_of_their_tokens(site, opened, lost):
    make_session(site, f"without {lost}", **MAIN)
    token = run(site, PERSON + PERSONAL, subject=f"without {lost}").strip()
    mine = opened("/team/echo", token=token)
    assert mine.lives()
    change, ending = ENDS[lost]
    run(site, PERSON + change, subject=f"without {lost}")
    assert mine.ending() == ending


@pytest.mark.parametrize("seconds", [0, 20])
def test_an_issuer_is_asked_again_about_what_its_token_has_opened(site, opened, clock, seconds):
    with IntrospectingIssuer() as issuer:
        add_issuer(site, "asked", issuer.url, introspection_seconds=seconds)
        try:
            token = issuer.grant("opaque", exp=int(time.time()) + clock.ahead + 3000)
            mine = opened("/opaque/echo", token=token)
            later(clock, 31)
            assert wait_until(lambda: issuer.times_asked(token) == 2)
            assert mine.lives()
            del issuer.active[token]
            later(clock, 31)
            assert mine.ending() == (4401, "token_inactive")
        finally:
            remove_issuer(site, "asked")


LETS_IN = "access: authenticated, upstream: api}"
CHANGES = {
    "moved": ("path: /api/protected,", "path: /api/elsewhere,", "no_route"),
    "disabled": (LETS_IN, "access: authenticated, upstream: api, enabled: false}", "route_disabled"),
    "for a role": (LETS_IN, "access: roles, roles: [admin], upstream: api}", "missing_role"),
    "to another service": (LETS_IN, "access: authenticated, upstream: events}", "no_route"),
    "for a scope": (LETS_IN, "access: authenticated, scopes: [x], upstream: api}", "insufficient_scope"),
    "for another issuer": (LETS_IN, "access: authenticated, issuers: [ci], upstream: api}", "issuer_not_taken"),
}


@pytest.mark.parametrize(("old", "new", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_route_that_lets_in_no_longer_closes_its_websockets(site, opened, policy, old, new, reason):
    mine = opened("/api/protected/echo", token=site.mint("alice", fresh=True))
    assert mine.lives()
    changed = policy.replace(old, new, 1)
    assert changed != policy
    site.import_policy(changed)
    assert mine.ending() == (4403, reason)


@pytest.fixture
def spare():
    with WebSocketService() as started:
        yield started


def test_a_target_that_is_taken_away_loses_its_websockets_and_they_may_come_back(site, opened, policy, service, spare):
    both = policy.replace(f'"{service.target}"', f'"{service.target}", "{spare.target}"', 1)
    site.import_policy(both)
    opened_before = len(spare.requests)
    sockets = [opened("/api/public/moving/echo") for _ in range(4)]
    assert len(spare.requests) - opened_before == 2
    site.import_policy(policy)
    time.sleep(0.6)  # in which everything is looked at twice
    endings = [(1001, "upstream_unreachable"), None]
    ends = [_ending_or_none(each) for each in sockets]
    assert sorted(ends, key=str) == sorted(endings * 2, key=str)
    lines = site.log_lines(wait_for=2, path="/api/public/moving/echo")
    assert [line["cut"] for line in lines] == ["upstream_unreachable"] * 2
    assert opened("/api/public/moving/echo").lives()


def test_other_tls_settings_count_for_websockets_too(site, opened, policy, certificates):
    with WebSocketService(ssl=certificates.server_context()) as private:
        target = private.target.replace("http://127.0.0.1", "https://localhost")
        secure = f'  secure: {{targets: ["{target}"], tls: {{ca_file: "{certificates.ca_file}"}}}}\nroles:\n'
        more = policy.replace("roles:\n", secure, 1)
        more += "  - {name: secure, path: /secure, access: public, upstream: secure}\n"
        site.import_policy(more)
        mine, other = opened("/secure/echo"), opened("/api/public/echo")
        assert mine.lives()
        site.import_policy(more.replace("tls: {", 'tls: {min_version: "1.3", '))
        assert mine.ending() == (1001, "upstream_unreachable")
        assert other.lives()
        assert opened("/secure/echo").lives()


def _ending_or_none(mine):
    try:
        return None if mine.lives() else "silent"
    except ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason


def test_a_public_route_that_asks_for_somebody_now_closes_those_of_nobody(site, opened, policy):
    nobody = opened("/api/public/echo")
    site.import_policy(policy.replace("access: public,", "access: authenticated,", 1))
    assert nobody.ending() == (4401, "no_credential")


def test_a_change_that_does_not_concern_them_closes_none(site, opened, upstream, policy):
    upstream.reply(events := Events())
    token = site.mint("member", claims={"groups": '["team"]'}, fresh=True)
    mine, stream = opened("/team/echo", token=token), opened("/team/events/y", bearer(token))
    nobody = opened("/api/public/echo")
    more = "  - {name: more, path: /more, access: public, upstream: api}\n"
    site.import_policy(policy + more)
    site.import_policy(policy.replace("name: team,", "name: crew,"))
    time.sleep(0.6)  # in which everything is looked at twice
    assert mine.lives()
    assert nobody.lives()
    events.send(b"on")
    assert stream.client.read_chunk() == b"on"


LATE = "path: /late, access: authenticated, upstream: events"
BEFORE_101 = {
    "all": (None, (4401, "revoked")),
    "a role": ("path: /late, access: roles, roles: [admin], upstream: events", (4403, "missing_role")),
    "the route": (f"{LATE}, enabled: false", (4403, "route_disabled")),
    "the service": ("path: /late, access: authenticated, upstream: api", (4403, "no_route")),
}


@pytest.mark.parametrize("lost", BEFORE_101)
def test_what_is_taken_away_before_the_service_has_answered_counts(site, upstream, policy, lost):
    now, ending = BEFORE_101[lost]
    changed = threading.Event()

    def late(connection, request):
        changed.wait(10)
        with suppress(OSError):  # it is gone
            connection.send(SWITCH)
            connection.wait_closed()

    upstream.reply(late)
    request = raw.request(
        "GET", "/late", handshake(), host=f"localhost:{site.port}", token=site.mint(f"early {lost}", fresh=True)
    )
    with site.connect() as client:
        client.send(request)
        upstream.wait(1)
        if now is None:
            site.shell.command("revoke", "--subject", f"early {lost}")
        else:
            site.import_policy(policy.replace(LATE, now))
        changed.set()
        head = client.read_head()  # a revocation may have come before it or behind it
        assert head.status == 101 or (head.status, lost) == (401, "all")
        assert head.status == 401 or client.read_all() == close_frame(*ending)


# -- what comes to its end ----------------------------------------------------------------------------------------


def test_an_expired_token_closes_both_but_no_download(site, opened, upstream, clock):
    upstream.reply(Events())
    token = site.mint("short", ttl=60, fresh=True)
    mine, stream = opened("/api/protected/echo", token=token), opened("/events/expired", bearer(token))
    later(clock, 30)
    time.sleep(0.6)
    assert mine.lives()
    later(clock, 61)
    assert stream.ends()
    assert mine.ending() == (4401, "token_expired")
    [line] = site.log_lines(wait_for=1, path="/events/expired")
    assert line["cut"] == "token_expired"


def test_a_download_with_a_length_is_not_cut_by_the_tokens_end(site, opened, upstream, clock):
    def slow(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        later(clock, 61)
        time.sleep(0.8)
        connection.send(b"half")

    upstream.reply(slow)
    token = site.mint("download", ttl=60, fresh=True)
    with site.connect() as client:
        client.send(raw.request("GET", "/events/x", bearer(token), host=f"localhost:{site.port}"))
        assert client.response().body == b"halfhalf"


def from_page(site, made):
    return {"origin": site.url, "additional_headers": {"Cookie": f"auth_token={made.cookie}"}}


def test_a_session_that_lives_carries_its_websocket_past_the_cookies_end(site, opened, clock):
    made = make_session(site, "stayer", **MAIN)
    mine = opened("/api/protected/echo", **from_page(site, made))
    later(clock, 310)
    time.sleep(1.5)
    assert mine.lives()
    assert row(site, made.sid)["seen_ago"] < 100  # an open WebSocket is use of the session


def test_a_session_at_its_end_closes_its_websocket(site, opened, clock):
    made = make_session(site, "ender", left=200, **MAIN)
    mine = opened("/api/protected/echo", **from_page(site, made))
    assert mine.lives()
    later(clock, 301)
    assert mine.ending() == (4401, "token_expired")


COOKIE = """
print(mint(load_trust(), "main|mover", kind=Kind.SESSION, now=int(time.time()), ttl=300, session=options["sid"],
           extra_claims=options["claims"]))
"""


def test_a_group_that_the_session_has_lost_closes_its_websocket(site, opened, clock):
    claims = {"groups": ["team"]}
    made = make_session(site, "mover", claims=claims, **MAIN)
    cookie = run(site, COOKIE, sid=made.sid, claims=claims).strip()
    mine = opened("/team/echo", origin=site.url, additional_headers={"Cookie": f"auth_token={cookie}"})
    assert mine.lives()
    run(site, "Session.objects.filter(sid=options['sid']).update(claims={'groups': []})", sid=made.sid)
    later(clock, 310)
    assert mine.ending() == (4403, "missing_role")


# -- by the other server ------------------------------------------------------------------------------------------


def test_streams_end_over_http2_as_well(gateway_template, upstream, policy, tmp_path_factory):
    upstream.reply(events := Events())
    data_dir = tmp_path_factory.mktemp("http2") / "data"
    clock = Clock(tmp_path_factory.mktemp("clock2"))
    with (
        Gateway(data_dir, template=gateway_template, policy=policy, env=clock.env, args=("--http2",)) as site,
        ExitStack() as stack,
    ):
        site.start()
        member = site.mint("member", claims={"groups": '["team"]'}, fresh=True)
        short = site.mint("short", ttl=60, fresh=True)
        streams = []
        for path, token in (("/team/events/x", member), ("/events/x", short)):
            client = stack.enter_context(site.connect())
            client.send(raw.request("GET", path, bearer(token), host=f"localhost:{site.port}"))
            assert client.read_head().status == 200
            streams.append(Stream(client))
        site.import_policy(policy.replace("contains: team", "contains: another-team"))
        assert streams[0].ends()
        events.send(b"on")
        assert streams[1].client.read_chunk() == b"on"
        later(clock, 61)
        assert streams[1].ends()
        lines = site.log_lines(wait_for=2, status=200)
    assert [line["cut"] for line in lines] == ["missing_role", "token_expired"]
