"""What is taken away is gone, and what is published is in force, for every request that begins after the answer."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from authgate.authn.keys import generate_key_pair
from tests.support import processes, raw
from tests.support.crowd import Crowd
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, run
from tests.support.signing import sign_token
from tests.support.streams import wait_until

ACTOR = "from authgate.policy.powers import Machine\nactor = Machine('operator')\n"
SAME_SITE = [("Sec-Fetch-Site", "same-origin")]
ROUNDS = 3
PROVIDER = {"issuer": "https://id.example.com"}


KINDS = {
    "http1": {},
    "http2": {"args": ["--http2"]},
    "redis is lost": {"env": {"AUTHGATE_REDIS_URL": "redis://127.0.0.1:9/0"}},
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("at-once") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2, **request.param) as started:
        yield started.start()


def asking(site, path, headers):
    return raw.request("GET", path, headers, host=f"{site.host}:{site.port}")


def sign_out(site, made):
    assert site.request("/auth/logout", method="POST", headers=[*SAME_SITE, *made.headers], body=b"").status == 303


def end_session(site, made):
    code = "from authgate.sessions.ending import end_sessions\n"
    run(site, ACTOR + code + "end_sessions(Session.objects.filter(sid=options['sid']), actor, 'test')", sid=made.sid)


def deactivate(site, made):
    code = "from authgate.sessions.activation import deactivate\n"
    run(site, ACTOR + code + "deactivate(Session.objects.get(sid=options['sid']).person, actor)", sid=made.sid)


def disable_provider(site, made):
    code = """
from authgate.sessions import registration
provider = Session.objects.get(sid=options['sid']).person.provider
provider.enabled = False
registration.save(provider, actor)
"""
    run(site, ACTOR + code, sid=made.sid)


def ended_under_load(site, ends):
    """Of requests that began after the answer: those let in, and how many there were. `ends`: by request."""
    answered = {}
    with Crowd(site, asking(site, "/api/public", [])) as crowd:
        for request, end in ends.items():
            crowd.ask(request, until=200)
            end()
            answered[request] = time.monotonic()
            crowd.wait_for(request, 401, times=4)
    late = [asked for asked in crowd.asked if asked.began > answered.get(asked.what, float("inf"))]
    return [asked for asked in late if asked.status == 200], len(late)


def revoke(site, token):
    code = "from authgate.state import revocation\nrevocation.revoke(options['jti'], 'test', actor)"
    run(site, ACTOR + code, jti=jti_of(token))


@pytest.mark.parametrize("end", [sign_out, end_session, deactivate, disable_provider])
def test_an_ended_session_lets_nobody_in_once_it_is_answered(site, end):
    names = [f"{end.__name__}-{number}".replace("_", "-") for number in range(ROUNDS)]
    made = [make_session(site, name, slug=name, provider={"name": name, **PROVIDER}) for name in names]
    ends = {asking(site, "/api/protected", session.headers): partial(end, site, session) for session in made}
    let_in, tried = ended_under_load(site, ends)
    assert let_in == []
    assert tried >= ROUNDS * 4 * 16


def test_a_revoked_token_lets_nobody_in_once_it_is_answered(site):
    tokens = [site.mint("alice", fresh=True) for _ in range(ROUNDS)]
    bearer = {token: asking(site, "/api/protected", [("Authorization", f"Bearer {token}")]) for token in tokens}
    let_in, tried = ended_under_load(site, {bearer[token]: partial(revoke, site, token) for token in tokens})
    assert let_in == []
    assert tried >= ROUNDS * 4 * 16


def jti_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]


def revoke_subject(site, subject):
    site.shell.command("revoke", "--subject", subject)


def test_a_revoked_subject_is_let_in_by_none_of_its_tokens_once_it_is_answered(site):
    names = [f"thief-{number}" for number in range(ROUNDS)]
    ends = {}
    for name in names:
        token = site.mint(name, fresh=True)
        request = asking(site, "/api/protected", [("Authorization", f"Bearer {token}")])
        ends[request] = partial(revoke_subject, site, name)
    let_in, tried = ended_under_load(site, ends)
    assert let_in == []
    assert tried >= ROUNDS * 4 * 16
    other = site.mint("innocent", fresh=True)
    assert statuses(site, other) == {(200, 200, 200)}


def test_a_revoked_subject_that_signed_in_is_signed_out_once_it_is_answered(site):
    made = make_session(site, "revoked", slug="main", provider={"name": "main", **PROVIDER})
    request = asking(site, "/api/protected", made.headers)
    let_in, tried = ended_under_load(site, {request: partial(revoke_subject, site, "main|revoked")})
    assert let_in == []
    assert tried >= 4 * 16
    again = make_session(site, "revoked", slug="main", provider={"name": "main", **PROVIDER})
    assert site.get("/api/protected", headers=again.headers).status == 200


def test_a_revoked_issuer_vouches_for_nobody_once_it_is_answered(site):
    pair = generate_key_pair("ES256")
    code = """
from authgate.models.issuers import TokenIssuer
TokenIssuer.objects.update_or_create(slug="ci", defaults={
    "issuer": "https://ci.example.com", "audiences": ["gateway"], "algorithms": ["ES256"],
    "pasted_keys": json.dumps({"keys": [options["key"]]}),
})
"""
    run(site, code, key=pair.public_jwk)
    now = int(time.time())
    claims = {"iss": "https://ci.example.com", "aud": "gateway", "sub": "job", "exp": now + 600}
    requests = [
        asking(site, "/api/protected", [("Authorization", f"Bearer {signed(pair, {**claims, **more})}")])
        for more in ({"iat": now, "jti": "1"}, {"jti": "2"})
    ]
    assert answer_to(site, requests[1]) == (200, None)
    revoking = partial(site.shell.command, "revoke", "--issuer", "ci")
    let_in, tried = ended_under_load(site, {requests[0]: revoking})
    assert let_in == []
    assert tried >= 4 * 16
    # This one does not say when it was issued.
    assert answer_to(site, requests[1]) == (401, "token_revoked")
    later = signed(pair, {**claims, "iat": now + 3, "jti": "3"})
    assert site.get("/api/protected", token=later).status == 401
    time.sleep(max(0, now + 12 - time.time()))
    assert site.get("/api/protected", token=signed(pair, {**claims, "iat": now + 12, "jti": "4"})).status == 200


def answer_to(site, request):
    """Its status, and the reason of a refusal."""
    with site.connect() as client:
        answer = client.send(request).response()
    return answer.status, json.loads(answer.body)["reason"] if answer.status != 200 else None


def signed(pair, claims):
    return sign_token(signer=pair, header={"typ": "JWT"}, claims={"roles": ..., "iat": ..., **claims}).decode()


def test_a_retired_key_vouches_for_nobody_once_it_is_answered(site):
    token = site.mint("bob", fresh=True)
    request = asking(site, "/api/protected", [("Authorization", f"Bearer {token}")])
    code = """
from authgate.models.trust import SigningKey
from authgate.state import signing_keys
current = signing_keys.find_current(SigningKey.Purpose.TOKENS)
signing_keys.create(SigningKey.Purpose.TOKENS, SigningKey.Algorithm.RS256, actor)
signing_keys.retire(current, actor)
"""
    let_in, tried = ended_under_load(site, {request: partial(run, site, ACTOR + code)})
    assert let_in == []
    assert tried >= 4 * 16


def test_a_policy_decides_every_request_that_begins_once_it_is_answered(site, session_upstream):
    opened = demo_policy(session_upstream.target)
    closed = opened.replace("access: public, ", "access: authenticated, ")
    request, changes = asking(site, "/api/public", []), []
    with Crowd(site, request) as crowd:
        for policy, status in [(closed, 401), (opened, 200)] * ROUNDS:
            begun = time.monotonic()
            site.shell.command("policy", "import", "-", stdin=policy)
            changes.append((begun, time.monotonic(), status))
            crowd.wait_for(request, status, times=4)
    ends = [begun for begun, _, _ in changes[1:]] + [float("inf")]
    for (_, answered, status), next_begun in zip(changes, ends, strict=True):
        during = [asked.status for asked in crowd.asked if answered < asked.began and asked.ended < next_begun]
        assert len(during) > 16
        assert {*during} == {status}


@contextmanager
def others_signing_out(site, pause):
    """One after the other, in a process of its own."""
    code = f"""
import time
from authgate.models import versions
for _ in range(10_000):
    versions.bump("trust")
    time.sleep({pause})
"""
    process = processes.start(site.env, ["shell", "--no-imports", "-c", code], [0, 1, 2])
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def test_a_policy_decides_at_once_while_others_sign_out(site, session_upstream):
    opened = demo_policy(session_upstream.target)
    closed = opened.replace("access: public, ", "access: authenticated, ")
    request, found = asking(site, "/api/public", []), []
    with others_signing_out(site, 0.01), Crowd(site, request, connections=2), site.connect() as client:
        for policy in (closed, opened) * ROUNDS:
            site.shell.command("policy", "import", "-", stdin=policy)
            found.append(client.send(request).response().status)
    assert found == [401, 200] * ROUNDS


def test_nobody_is_taken_for_nobody_while_others_sign_out(site):
    made = make_session(site, "innocent")
    with others_signing_out(site, 0.01), site.connect() as client:
        statuses = {client.send(asking(site, path, made.headers)).response().status
                    for path in ["/auth/me", "/api/protected"] * 60}  # fmt: skip
    assert statuses == {200}


# --- when the database does not say what was changed ---------------------------------------------------------


@pytest.fixture(scope="module")
def on_postgres(session_upstream, on_postgresql, tmp_path_factory):
    options, policy = on_postgresql(), demo_policy(session_upstream.target)
    with Gateway(tmp_path_factory.mktemp("postgres") / "data", policy=policy, workers=2, **options) as started:
        yield started.start(), options["env"]["AUTHGATE_DATABASE_URL"]


@contextmanager
def hanging(url):
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE authgate_stateversion IN ACCESS EXCLUSIVE MODE")
        yield


def statuses(gateway, token):
    """For a stranger, for a caller, and for a caller whom nobody has to know; of every worker."""
    asked = [("/api/public/x", None), ("/api/protected/x", token), ("/api/public/x", token)]
    return {tuple(gateway.get(path, token=credential).status for path, credential in asked) for _ in range(8)}


def advance(gateway, kind):
    run(gateway, f"from authgate import generation; generation.advance({kind!r})")


def test_while_it_is_not_known_what_was_taken_away_no_credential_is_accepted(on_postgres):
    gateway, url = on_postgres
    token = gateway.mint("alice", fresh=True)
    assert statuses(gateway, token) == {(200, 200, 200)}  # every worker knows by now what was changed before
    with hanging(url):
        advance(gateway, "trust")
        began = time.monotonic()
        refused = gateway.get("/api/protected", token=token)
        assert (refused.status, refused.json()["reason"]) == (503, "trust_unknown")
        assert statuses(gateway, token) == {(200, 503, 200)}
        assert time.monotonic() - began < 8  # each worker has waited once, whoever asked
        [pid, _] = gateway.worker_pids()
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: pid not in gateway.worker_pids() and len(gateway.worker_pids()) == 2, 20)
        assert statuses(gateway, token) == {(200, 503, 200)}
    assert wait_until(lambda: statuses(gateway, token) == {(200, 200, 200)}, 10)


def test_while_it_is_not_known_what_was_published_the_last_policy_stays(on_postgres):
    gateway, url = on_postgres
    token = gateway.mint("alice", fresh=True)
    assert statuses(gateway, token) == {(200, 200, 200)}  # every worker knows by now what was changed before
    with hanging(url):
        advance(gateway, "policy")
        assert statuses(gateway, token) == {(200, 200, 200)}
    assert "could not be loaded within 2 s: until it is, the policy stays as it was" in gateway.output


def test_a_policy_that_cannot_be_loaded_keeps_nobody_signed_in_who_was_signed_out(on_postgres):
    gateway, url = on_postgres
    token, other = gateway.mint("alice", fresh=True), gateway.mint("bob", fresh=True)
    publish_by_force(gateway, url, "'no JSON' || document")
    assert statuses(gateway, token) == {(200, 200, 200)}
    code = "from authgate.state import revocation\nrevocation.revoke(options['jti'], 'test', actor)"
    run(gateway, ACTOR + code, jti=jti_of(token))
    assert gateway.get("/api/protected", token=token).status == 401
    assert statuses(gateway, token) == {(200, 401, 200)}
    assert statuses(gateway, other) == {(200, 200, 200)}
    publish_by_force(gateway, url, "substr(document, 8)")
    assert wait_until(lambda: gateway.get("/health/ready").status == 200, 15)


def publish_by_force(gateway, url, document):
    """What no operation does."""
    with psycopg.connect(url) as connection:
        connection.execute(f"UPDATE authgate_policyrevision SET document = {document}")
        connection.execute("UPDATE authgate_stateversion SET value = value + 1 WHERE name = 'policy'")
    advance(gateway, "policy")


def test_a_file_cut_short_or_replaced_under_a_running_gateway_is_followed(start_gateway):
    gateway = start_gateway(workers=2)
    token = gateway.mint("alice", fresh=True)
    file = gateway.data_dir / "generation"
    file.write_bytes(b"")
    assert statuses(gateway, token) == {(200, 200, 200)}
    file.unlink()
    gateway.settle()
    run(gateway, ACTOR + "from authgate.state import revocation\n"
        "revocation.revoke(options['jti'], 'test', actor)", jti=jti_of(token))  # fmt: skip
    assert statuses(gateway, token) == {(200, 401, 200)}
    assert file.stat().st_mode & 0o777 == 0o600


def test_without_the_file_changes_are_seen_when_workers_look(start_gateway, tmp_path):
    gateway = start_gateway(workers=2)
    token = gateway.mint("alice", fresh=True)
    gateway.stop()
    (gateway.data_dir / "generation").unlink(missing_ok=True)
    (gateway.data_dir / "generation").mkdir()
    gateway.start()
    assert statuses(gateway, token) == {(200, 200, 200)}
    run(gateway, ACTOR + "from authgate.state import revocation\n"
        "revocation.revoke(options['jti'], 'test', actor)", jti=jti_of(token))  # fmt: skip
    assert wait_until(lambda: statuses(gateway, token) == {(200, 401, 200)}, 10)
    assert (
        gateway.output.count("generation: is not a file of its own: remove it: changes are seen half a second late")
        == 2
    )


# --- other machines ------------------------------------------------------------------------------------------


def test_postgresql_tells_other_machines(on_postgres):
    gateway, url = on_postgres
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN authgate_state")
        run(gateway, "from authgate.models import versions\nversions.bump('trust')")
        assert [notice.channel for notice in connection.notifies(timeout=10, stop_after=1)] == ["authgate_state"]


def test_a_worker_looks_whenever_postgresql_tells_it(on_postgres):
    _, url = on_postgres
    looks = "SELECT query_start FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()"
    seen = set()
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.monotonic()
        while time.monotonic() - began < 3:
            connection.execute("NOTIFY authgate_state")
            time.sleep(0.02)
            seen.update(connection.execute(looks, ["%authgate_stateversion%"]).fetchall())
    # Two workers, each of which looks every half second by itself.
    assert len(seen) > 24
