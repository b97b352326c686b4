from __future__ import annotations

import json
import time
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session as AccountSession
from django.core.management import call_command
from django.utils import timezone

from authgate.authn.tokens import Kind, verify
from authgate.models.people import IdentityProvider, Person, Session, UsedOnce
from authgate.models.trust import RevokedToken, StateVersion
from authgate.oidc.login_state import Beginning
from authgate.outbound.errors import ProviderError
from authgate.policy.schema import Grant, When
from authgate.sealing import unseal_text
from authgate.sessions import cookie, store
from authgate.sessions.live import live_sessions
from authgate.sessions.purge import purge
from authgate.sessions.renewal import is_live
from tests.support.databases import SIGN_IN
from tests.support.signing import make_snapshot, make_trust

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider():
    return IdentityProvider.objects.create(slug="idp", client_id="gateway")


def proven(**changes):
    values = {"subject": "alice", "email": "alice@example.com", "name": "Alice", "claims": {}, **changes}
    return SimpleNamespace(**values)


def tokens(**changes):
    return SimpleNamespace(**{"access_token": "a", "id_token": "", "refresh_token": "", "expires_in": None, **changes})


def start(
    provider,
    *,
    replaces=None,
    host="gateway.test",
    address="192.0.2.1",
    user_agent="Browser",
    token_set=None,
    beginning=None,
    **changes,
):
    return store.start(
        proven(**changes),
        token_set or tokens(),
        provider,
        host=host,
        address=address,
        user_agent=user_agent,
        replaces=replaces,
        beginning=beginning,
    )


# --- tabs of one browser -----------------------------------------------------------------------------------------
def tab(own, *others, ago=600):
    """`ago`: the tests of a whole module may lie between its making and its use."""
    return Beginning(timezone.now() - timedelta(seconds=ago), own, frozenset((own, *others)))


def test_a_tab_joins_the_session_that_another_one_has_begun_meanwhile(provider):
    first = start(provider, beginning=tab("a"), token_set=tokens(refresh_token="old", id_token="old"))
    second = start(
        provider, beginning=tab("b", "a"), replaces=first.sid, email="new@example.com",
        claims={"sid": "new"}, token_set=tokens(refresh_token="new", id_token="new"),
    )  # fmt: skip
    row = Session.objects.get()
    assert (second.sid, row.sid, row.ended_at) == (first.sid, first.sid, None)
    # A browser has one session at the provider: the one that it was given last.
    assert (row.claims, row.provider_sid, row.person.email) == ({"sid": "new"}, "new", "new@example.com")
    assert unseal_text(row.sealed_refresh_token, purpose="refresh token", place=row.sid) == "new"
    assert unseal_text(row.sealed_id_token, purpose="id token", place=row.sid) == "new"


@pytest.mark.parametrize(
    ("second", "changes"),
    [
        (tab("b"), {}),
        (tab("b", "a"), {"subject": "bob"}),
        (tab("a", ago=-3600), {}),
        (None, {}),
    ],
    ids=["another-browser", "another-person", "begun-after-it", "unknown-browser"],
)
def test_no_other_sign_in_joins_a_session(provider, second, changes):
    first = start(provider, beginning=tab("a"))
    assert start(provider, beginning=second, replaces=first.sid, **changes).sid != first.sid
    assert Session.objects.get(sid=first.sid).end_reason == "signed in again"


def test_a_session_that_has_ended_is_not_joined(provider):
    first = start(provider, beginning=tab("a"))
    store.end(first.sid, "signed out")
    assert start(provider, beginning=tab("a")).sid != first.sid


def carried(session, *grants):
    """The claims of the session's cookie, as the gateway reads them."""
    trust = make_trust()
    token = cookie.mint_cookie(session, make_snapshot(trust, tuple(grants)), "")
    return verify(token.encode(), trust, Kind.SESSION, time.time())


def grant(claim, **condition):
    return Grant(role="r", when=When(claim=claim, **condition))


def test_a_session_lasts_as_long_as_its_provider_says(provider):
    provider.session_lifetime = 1234
    provider.save()
    session = start(provider)
    assert session.expires_at - session.created_at == timedelta(seconds=1234)


@pytest.mark.parametrize("change", [{"enabled": False}, None], ids=["disabled", "removed"])
def test_no_session_begins_at_a_provider_that_is_gone_by_then(provider, change):
    known = IdentityProvider.objects.filter(pk=provider.pk)
    known.update(**change) if change else known.delete()
    with pytest.raises(ProviderError, match="login_expired"):
        start(provider)
    assert not Session.objects.exists()


def test_one_person_has_one_row_and_many_sessions(provider):
    first, second = start(provider), start(provider, name="Alice B.")
    assert first.sid != second.sid
    assert [(person.name, person.sessions.count()) for person in Person.objects.all()] == [("Alice B.", 2)]


def test_the_same_subject_of_two_providers_is_two_people(provider):
    other = IdentityProvider.objects.create(slug="other", client_id="gateway")
    assert start(provider).person.subject == "idp|alice"
    assert start(other).person.subject == "other|alice"


def test_signing_in_ends_the_session_that_the_browser_had(provider):
    before = start(provider)
    start(provider, replaces=before.sid)
    before.refresh_from_db()
    assert (before.ended_at is not None, before.end_reason) == (True, "signed in again")
    assert RevokedToken.objects.filter(jti=before.sid).exists()


def test_who_is_deactivated_does_not_get_in_and_loses_nothing_else(provider):
    before = start(provider)
    Person.objects.update(is_active=False)
    with pytest.raises(ProviderError, match="not_allowed"):
        start(provider, replaces=before.sid)
    before.refresh_from_db()
    assert (Session.objects.count(), before.ended_at) == (1, None)


@pytest.mark.parametrize("subject", ["a" * 250, "a\nb", " a "], ids=["long", "newline", "space"])
def test_a_subject_that_no_token_can_carry_does_not_get_in(provider, subject):
    if subject == " a ":
        subject = "a "
    with pytest.raises(ProviderError, match="not_allowed"):
        start(provider, subject=subject)


def test_the_tokens_of_the_provider_are_sealed_for_their_row(provider):
    session = start(provider, token_set=tokens(id_token="i.d.t", refresh_token="secret"))
    assert "secret" not in session.sealed_refresh_token
    assert unseal_text(session.sealed_refresh_token, purpose="refresh token", place=session.sid) == "secret"
    assert unseal_text(session.sealed_id_token, purpose="id token", place=session.sid) == "i.d.t"


@pytest.mark.parametrize(("expires_in", "seconds"), [(None, 3600), (900, 900), (1, 60), (10**9, 86400)])
def test_the_provider_is_asked_again_when_its_access_token_ends(provider, expires_in, seconds):
    session = start(provider, token_set=tokens(refresh_token="r", expires_in=expires_in))
    assert session.refresh_at - session.created_at == timedelta(seconds=seconds)


def test_text_that_a_database_refuses_is_left_out(provider):
    odd = {"groups": ["a"], "nul": "a\x00b", "half": "\ud800", "number": float("nan"), "big": "x" * 300_000}
    session = start(provider, user_agent="x\x00" * 400, name="N\x00", claims=odd)
    session.refresh_from_db()
    assert (session.claims, session.user_agent, session.person.name) == ({"groups": ["a"]}, "x" * 400, "")


def test_the_cookie_carries_only_what_the_grants_ask_about(provider):
    claims = {"groups": ["a", "b", "c"], "department": "x", "country": "NO", "phone": "1"}
    session = start(provider, claims=claims)
    claims = carried(session, grant("groups", contains="b"), grant("country", equals="NO"), grant("phone", equals="2"))
    named = {name: value for name, value in claims.all.items() if name in session.claims}
    assert named == {"groups": ["b"], "country": "NO"}
    assert claims.roles == frozenset()


def test_a_provider_cannot_name_roles_or_an_email_through_claims(provider):
    session = start(provider, claims={"roles": ["admin"], "email": "boss@example.com", "sub": "boss", "sid": "1"})
    claims = carried(session, grant("roles", contains="admin"), grant("email", equals="boss@example.com"))
    assert (claims.all["roles"], claims.email, claims.subject) == ([], "alice@example.com", "idp|alice")
    assert claims.all["sid"] == claims.token_id == session.sid


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": [f"group-{number}" for number in range(5000)]},
        {"groups": "word " * 10_000},
        {f"claim-{number}": "x" * 100 for number in range(400)},
        {"groups": ["ü" * 2000, "x" * 5000]},
    ],
    ids=["many groups", "long text", "many claims", "long groups"],
)
def test_a_cookie_stays_small_whatever_the_provider_says(provider, claims):
    session = start(provider, subject="s" * 190, name="ü" * 200, email="e" * 200, claims=claims)
    asked = [grant(name, contains=value) for name, value in _values(session.claims)]
    asked += [grant(name, equals=value) for name, value in session.claims.items() if isinstance(value, str)]
    set_cookie = store.cookie_for(session, make_snapshot(grants=tuple(asked)), "")
    assert len(set_cookie.partition(";")[0]) < 4000


def test_of_too_many_claims_the_first_are_kept(provider):
    groups = [f"group-{number}" for number in range(5000)]
    kept = carried(start(provider, claims={"groups": groups}), *(grant("groups", contains=each) for each in groups))
    assert 50 < len(kept.all["groups"]) < 500
    assert kept.all["groups"] == groups[: len(kept.all["groups"])]


def test_a_cookie_does_not_outlive_its_session_or_its_idle_limit(provider):
    session = start(provider)
    session.expires_at = timezone.now() + timedelta(seconds=30)
    assert carried(session).expires_at <= time.time() + 30
    session.expires_at += timedelta(hours=1)
    session.person.provider.session_idle = 90
    assert carried(session).expires_at <= time.time() + 19


def test_a_session_that_timed_out_keeps_no_token_of_the_provider(provider):
    idle, over, alive = (start(provider, token_set=tokens(refresh_token="r")) for _ in range(3))
    Session.objects.filter(sid=idle.sid).update(last_seen_at=timezone.now() - timedelta(hours=9))
    Session.objects.filter(sid=over.sid).update(expires_at=timezone.now())
    purge()
    kept = {session.sid: (session.end_reason, session.sealed_refresh_token) for session in Session.objects.all()}
    assert kept == {
        idle.sid: ("timed out", ""),
        over.sid: ("timed out", ""),
        alive.sid: ("", alive.sealed_refresh_token),
    }


def test_the_sessions_of_a_person_are_those_that_live(provider):
    alive, ended, idle, over = (start(provider) for _ in range(4))
    store.end(ended.sid, "signed out")
    Session.objects.filter(sid=idle.sid).update(last_seen_at=timezone.now() - timedelta(hours=9))
    Session.objects.filter(sid=over.sid).update(expires_at=timezone.now())
    assert [session.sid for session in live_sessions(alive.person)] == [alive.sid]


def test_a_session_whose_cookie_may_still_be_out_is_not_taken_for_timed_out(provider):
    session = start(provider)
    Session.objects.update(last_seen_at=timezone.now() - timedelta(seconds=250))
    IdentityProvider.objects.update(session_idle=60)
    purge()
    assert store.end_all(session.person, "person deactivated") == 1
    assert RevokedToken.objects.filter(jti=session.sid).exists()


def test_rows_that_mean_nothing_any_more_are_removed_and_no_worker_is_told(provider):
    now, sessions = timezone.now(), [start(provider) for _ in range(3)]
    Session.objects.filter(sid=sessions[0].sid).update(ended_at=now - timedelta(days=31))
    Session.objects.filter(sid=sessions[1].sid).update(ended_at=now - timedelta(days=29))
    UsedOnce.objects.create(key="old", expires_at=now - timedelta(days=2))
    UsedOnce.objects.create(key="new", expires_at=now + timedelta(minutes=1))
    RevokedToken.objects.create(jti="old", expires_at=now - timedelta(days=2))
    RevokedToken.objects.create(jti="new", expires_at=now + timedelta(minutes=1))
    version = StateVersion.objects.get(name="trust").value
    purge()
    assert {session.sid for session in Session.objects.all()} == {sessions[1].sid, sessions[2].sid}
    assert [row.key for row in UsedOnce.objects.all()] == ["new"]
    assert [row.jti for row in RevokedToken.objects.all()] == ["new"]
    assert StateVersion.objects.get(name="trust").value == version


def test_what_was_used_once_is_remembered_past_its_end_since_a_clock_may_be_set_back(provider):
    UsedOnce.objects.create(key="state", expires_at=timezone.now() - timedelta(hours=1))
    purge()
    assert UsedOnce.objects.filter(key="state").exists()


def test_a_cookie_made_before_the_clock_was_set_back_is_revoked_for_as_long_as_it_lives(provider):
    session = start(provider)
    Session.objects.update(last_seen_at=timezone.now() + timedelta(hours=1))  # the cookie is made then
    store.end(session.sid, "signed out")
    assert RevokedToken.objects.get().expires_at > timezone.now() + timedelta(hours=1, minutes=5)


def _values(claims):
    for name, value in claims.items():
        for item in value if isinstance(value, list) else ():
            yield name, item


def test_of_more_sessions_than_one_person_may_have_those_unused_for_longest_end(provider):
    others = start(provider, subject="bob")
    mine = [start(provider) for _ in range(store.MOST_SESSIONS)]
    now = timezone.now()
    for age, session in enumerate(mine):
        Session.objects.filter(sid=session.sid).update(last_seen_at=now - timedelta(seconds=age))
    last = start(provider)
    ended = {session.sid: session.end_reason for session in Session.objects.exclude(ended_at=None)}
    assert ended == {mine[-1].sid: "more than 50 sessions"}
    assert RevokedToken.objects.filter(jti=mine[-1].sid).exists()
    assert len(live_sessions(last.person)) == store.MOST_SESSIONS
    assert len(live_sessions(others.person)) == 1


def test_a_sign_in_that_replaces_a_session_ends_no_other(provider):
    mine = [start(provider) for _ in range(store.MOST_SESSIONS)]
    start(provider, replaces=mine[3].sid)
    assert {session.sid for session in Session.objects.exclude(ended_at=None)} == {mine[3].sid}


MANY_AT_ONCE = """
from threading import Thread
def sign_in():
    try:
        for _ in range(5):
            exec(compile({sign_in!r}, "sign in", "exec"), {{"provider": IdentityProvider.objects.get()}})
    finally:
        connection.close()
import json
from django.db import connection
from authgate.models.people import IdentityProvider, Session
store.MOST_SESSIONS = 4
IdentityProvider.objects.create(slug="idp", client_id="gateway")
threads = [Thread(target=sign_in) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([Session.objects.filter(ended_at=None).count(), Session.objects.count()]))
"""


def test_sign_ins_at_the_same_time_leave_no_more_sessions_than_may_be(database):
    script = "from authgate.sessions import store\n" + MANY_AT_ONCE.format(sign_in=SIGN_IN)
    assert json.loads(database.shell.run(script)) == [4, 20]


def test_one_command_ends_every_session_also_those_of_local_accounts(provider, client):
    start(provider), start(provider, subject="bob")
    client.force_login(User.objects.create(username="root"))
    output = StringIO()
    call_command("sessions", "end", "--all", stdout=output)
    assert output.getvalue() == "ended 2 sessions of people, 1 session of local accounts\n"
    assert not Session.objects.filter(ended_at=None).exists()
    assert RevokedToken.objects.count() == 2
    assert not AccountSession.objects.exists()


def test_many_sessions_end_at_once(provider, monkeypatch):
    monkeypatch.setattr(store, "_AT_ONCE", 2)
    sessions = [start(provider) for _ in range(5)]
    assert store.end_all(sessions[0].person, "test") == RevokedToken.objects.count() == 5
    assert not Session.objects.filter(ended_at=None).exists()


def test_the_longest_session_of_today_counts_for_those_that_began_before(provider):
    now, session = timezone.now(), start(provider)
    Session.objects.filter(sid=session.sid).update(created_at=now - timedelta(hours=2))
    assert live_sessions(session.person) != []
    provider.session_lifetime = 3600
    provider.save()
    session = Session.objects.select_related("person__provider").get(sid=session.sid)
    assert (live_sessions(session.person), is_live(session)) == ([], False)
    purge()
    assert Session.objects.get(sid=session.sid).end_reason == "timed out"


def test_a_longer_session_of_today_does_not_lengthen_those_that_began_before(provider):
    session = start(provider)
    provider.session_lifetime *= 4
    session.person.provider = provider
    assert session.ends_at == session.expires_at
