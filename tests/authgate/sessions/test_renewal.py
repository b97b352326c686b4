from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from tests.support.clock import Clock
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.scripted import answer as answer_of
from tests.support.sessions import make_session, new_cookie, row, run
from tests.support.signing import sign_token


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def sessions_gateway(gateway_template, session_upstream, tmp_path_factory, clock):
    data_dir, policy = tmp_path_factory.mktemp("sessions") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, env=clock.env) as started:
        started.start()
        make_session(started)  # signing in has somewhere to lead once every worker knows this provider
        started.settle()
        yield started


@pytest.fixture
def site(sessions_gateway, upstream):
    return sessions_gateway


def token_in(set_cookie):
    return set_cookie.partition("=")[2].partition(";")[0]


def read(token):
    return jwt.decode(token, options={"verify_signature": False})


def test_an_expired_cookie_of_a_live_session_is_renewed_on_the_way(site, upstream):
    made = make_session(site, cookie_age=400)
    answer = site.get("/api/protected", headers=made.headers)
    assert (answer.status, upstream.only.header("x-auth-user-id")) == (200, "idp|alice")
    claims = read(token_in(new_cookie(answer)))
    assert (claims["sid"], claims["jti"], claims["exp"] - claims["iat"]) == (made.sid, made.sid, 300)


def test_the_new_cookie_is_kept_by_the_browser_as_long_as_the_session(site):
    made = make_session(site, cookie_age=400, left=5000)
    _, *attributes = new_cookie(site.get("/api/protected", headers=made.headers)).split("; ")
    assert attributes[1:] == ["Path=/", "HttpOnly", "SameSite=Lax"]
    assert 4900 < int(attributes[0].removeprefix("Max-Age=")) <= 5000


def test_the_new_cookie_is_accepted_and_not_renewed_again(site):
    made = make_session(site, cookie_age=400)
    token = token_in(new_cookie(site.get("/api/protected", headers=made.headers)))
    answer = site.get("/api/protected", headers=[("Cookie", f"auth_token={token}")])
    assert (answer.status, new_cookie(answer)) == (200, None)


def test_a_cookie_with_less_than_a_minute_is_renewed(site):
    answer = site.get("/api/protected", headers=make_session(site, cookie_age=250).headers)
    assert (answer.status, new_cookie(answer) is not None) == (200, True)


def test_a_fresh_cookie_is_left_alone(site):
    answer = site.get("/api/protected", headers=make_session(site, cookie_age=100).headers)
    assert (answer.status, new_cookie(answer)) == (200, None)


def test_a_renewal_is_written_into_the_row(site):
    made = make_session(site, cookie_age=400, unseen_for=3000, address="192.0.2.9")
    site.get("/api/protected", headers=made.headers)
    seen = row(site, made.sid)
    assert (seen["seen_ago"] < 30, seen["address"]) == (True, "127.0.0.1")


def test_on_a_public_route_an_expired_cookie_still_tells_who_it_is(site, upstream):
    answer = site.get("/api/public", headers=make_session(site, cookie_age=400).headers)
    assert new_cookie(answer) is not None
    assert upstream.only.header("x-auth-user-id") == "idp|alice"
    assert "no-store" in answer.header("cache-control") or "private" in answer.header("cache-control")


@pytest.mark.parametrize("caching", ["Cache-Control: public, max-age=60", "Cache-Control: s-maxage=9", "Expires: 0"])
def test_no_cache_may_keep_the_answer_that_carries_a_new_cookie(site, upstream, caching):
    upstream.reply(answer_of(caching, "CDN-Cache-Control: max-age=60", body=b"x"))
    renewed = site.get("/api/public", headers=make_session(site, cookie_age=400).headers)
    assert new_cookie(renewed) is not None
    assert (renewed.all("cache-control"), renewed.all("expires"), renewed.all("cdn-cache-control")) == (
        ["private, no-store"], [], [],
    )  # fmt: skip


def test_what_is_the_same_for_everybody_carries_no_cookie(site):
    answer = site.get("/auth/static/authgate/site.css", headers=make_session(site, cookie_age=400).headers)
    assert (answer.status, new_cookie(answer)) == (200, None)


def test_a_body_arrives_although_the_cookie_is_renewed_first(site, upstream):
    made = make_session(site, cookie_age=400)
    answer = site.request("/api/protected", method="POST", headers=made.headers, body=b"x" * 100_000)
    assert (answer.status, len(upstream.only.body)) == (200, 100_000)


def test_a_refusal_carries_the_new_cookie_too(site):
    answer = site.get("/api/admin", headers=make_session(site, cookie_age=400).headers)
    assert (answer.status, answer.json()["reason"]) == (403, "missing_role")
    assert new_cookie(answer) is not None


def test_the_gateways_own_pages_know_who_it_is_and_carry_the_new_cookie(site):
    made = make_session(site, cookie_age=400)
    answer = site.get("/auth/me", headers=made.headers)
    assert (answer.status, answer.json()["subject"]) == (200, "idp|alice")
    assert new_cookie(answer) is not None


def test_files_that_anybody_may_cache_carry_no_cookie(site):
    answer = site.get("/static/authgate/site.css", headers=make_session(site, cookie_age=400).headers)
    assert (answer.status, new_cookie(answer)) == (200, None)


OVER = {
    "ended": "Session.objects.filter(sid=options['sid']).update(ended_at=now)",
    "past its limit": "Session.objects.filter(sid=options['sid']).update(expires_at=ago(1))",
    "idle": "Session.objects.filter(sid=options['sid']).update(last_seen_at=ago(8 * 3600 + 1))",
    "deleted": "Session.objects.filter(sid=options['sid']).delete()",
    "person inactive": "Person.objects.filter(provider_subject=options['subject']).update(is_active=False)",
    "provider disabled": "IdentityProvider.objects.filter(slug=options['subject']).update(enabled=False)",
}


STRICTER = {
    "a shorter longest session": {"session_lifetime": 60, "session_idle": 60},
    "other allowed domains": {"allowed_domains": ["example.org"]},
    "a verified address": {"require_verified_email": True},
}


@pytest.mark.parametrize("change", STRICTER.values(), ids=STRICTER)
@pytest.mark.parametrize("cookie_age", [250, 400], ids=["nearly", "expired"])
def test_a_provider_made_stricter_renews_no_session_that_it_would_not_begin(site, upstream, change, cookie_age):
    claims = {"email": "alice@example.com", "email_verified": False}
    slug = f"stricter-{len(change)}{cookie_age}{next(iter(change))}".replace("_", "-")[:40]
    options = {"slug": slug, "cookie_age": cookie_age, "claims": claims}
    made = make_session(site, **options, provider={"allowed_domains": ["example.com"]})
    run(site, "Session.objects.filter(sid=options['sid']).update(created_at=ago(120))", sid=made.sid)
    run(site, f"IdentityProvider.objects.filter(slug=options['slug']).update(**{change!r})", slug=slug)
    answer = site.get("/api/protected", headers=made.headers)
    assert (answer.status, new_cookie(answer), upstream.requests) == (401, None, [])


def test_a_rule_that_is_taken_back_lets_the_session_go_on(site, clock):
    made = make_session(site, slug="undone", cookie_age=400, claims={"email": "alice@example.com"})
    allow = "IdentityProvider.objects.filter(slug='undone').update(allowed_domains=[options['domain']])"
    run(site, allow, domain="example.org")
    refused = site.get("/api/protected", headers=made.headers).status
    run(site, allow, domain="example.com")
    clock.let_pass(11)  # a worker remembers its answer for as long as tabs may send the old cookie
    assert (refused, site.get("/api/protected", headers=made.headers).status) == (401, 200)


@pytest.mark.parametrize("how", OVER.values(), ids=OVER)
@pytest.mark.parametrize("cookie_age", [250, 400], ids=["nearly", "expired"])
def test_a_session_that_is_over_is_not_renewed(site, upstream, how, cookie_age):
    name = f"gone-{abs(hash(how)) % 1000}-{cookie_age}"
    made = make_session(site, name, slug=name, cookie_age=cookie_age)
    run(site, how, sid=made.sid, subject=name)
    answer = site.get("/api/protected", headers=made.headers)
    assert (answer.status, new_cookie(answer), upstream.requests) == (401, None, [])


def test_who_looks_at_a_page_with_a_session_that_is_over_is_led_to_sign_in(site):
    made = make_session(site, cookie_age=400)
    run(site, OVER["ended"], sid=made.sid)
    answer = site.get("/api/protected?a=1", headers=[*made.headers, ("Accept", "text/html")])
    assert (answer.status, new_cookie(answer)) == (302, None)
    assert answer.header("location").startswith("/auth/login")


def test_a_cookie_is_renewed_whatever_else_the_browser_sends(site, upstream):
    made = make_session(site, cookie_age=400)
    answer = site.get("/api/protected", headers=[("Cookie", f"theme=dark; auth_token={made.cookie}; a=b")])
    assert (answer.status, upstream.only.header("cookie")) == (200, "theme=dark; a=b")


def test_with_two_session_cookies_none_is_renewed(site):
    made = make_session(site, cookie_age=400)
    answer = site.get("/api/protected", headers=[("Cookie", f"auth_token={made.cookie}; auth_token={made.cookie}")])
    assert (answer.status, new_cookie(answer)) == (401, None)


def test_another_site_cannot_use_a_cookie_that_is_renewed(site, upstream):
    headers = [*make_session(site, cookie_age=400).headers, ("Sec-Fetch-Site", "cross-site")]
    answer = site.request("/api/protected", method="POST", headers=headers, body=b"x")
    assert (answer.status, answer.json()["reason"], upstream.requests) == (403, "cross_site", [])


def test_a_revoked_cookie_is_not_renewed_although_its_session_lives(site):
    made = make_session(site, cookie_age=400)
    revoke = "RevokedToken.objects.create(jti=options['sid'], expires_at=now + timedelta(hours=1))"
    run(site, revoke, sid=made.sid)
    site.settle()
    assert site.get("/api/protected", headers=made.headers).status == 401


def test_a_session_that_is_over_is_nobody_on_a_public_route(site, upstream):
    made = make_session(site, cookie_age=250)
    run(site, OVER["deleted"], sid=made.sid)
    assert site.get("/api/public", headers=made.headers).status == 200
    assert upstream.only.header("x-auth-user-id") == ""


def test_an_expired_bearer_token_is_not_renewed(site):
    made = make_session(site, cookie_age=400)
    answer = site.get("/api/protected", token=made.cookie)
    assert (answer.status, new_cookie(answer)) == (401, None)


def test_a_bearer_token_keeps_an_expired_cookie_out_of_it(site):
    made = make_session(site, cookie_age=400)
    answer = site.get("/api/protected", token=site.mint("bob"), headers=made.headers)
    assert (answer.status, new_cookie(answer)) == (200, None)


def test_an_access_token_in_the_cookie_is_not_renewed(site):
    token = site.mint("bob", ttl=30, fresh=True)
    answer = site.get("/api/protected", headers=[("Cookie", f"auth_token={token}")])
    assert (answer.status, new_cookie(answer)) == (200, None)


def test_a_forged_cookie_that_names_a_live_session_is_not_renewed(site, upstream):
    made = make_session(site, cookie_age=400, unseen_for=2000)
    now = int(time.time())
    forged = sign_token(
        header={"typ": "session+jwt"},
        claims={"iss": site.url, "aud": site.url, "jti": made.sid, "sid": made.sid, "iat": now - 400, "exp": now - 100},
    )
    answer = site.get("/api/protected", headers=[("Cookie", f"auth_token={forged.decode()}")])
    assert (answer.status, new_cookie(answer), upstream.requests) == (401, None, [])
    assert row(site, made.sid)["seen_ago"] > 1000


def test_many_tabs_with_one_expired_cookie_are_all_let_in(site):
    made = make_session(site, cookie_age=400)
    with ThreadPoolExecutor(20) as tabs:
        answers = list(tabs.map(lambda _: site.get("/api/protected", headers=made.headers), range(60)))
    assert {answer.status for answer in answers} == {200}
    assert {read(token_in(new_cookie(answer)))["sid"] for answer in answers} == {made.sid}


@pytest.mark.parametrize(("cookie_age", "per"), [(250, "subject"), (400, "subject"), (400, "client")])
def test_a_limit_counts_a_renewed_request_once(start_gateway, upstream, cookie_age, per):
    policy = demo_policy(upstream.target).replace("access: authenticated,", "access: authenticated, rate_limit: few,")
    gateway = start_gateway(policy=f"{policy}rate_limits: {{few: {{rate: 1/h, burst: 2, per: {per}}}}}\n")
    made = make_session(gateway, cookie_age=cookie_age)
    assert [gateway.get("/api/protected", headers=made.headers).status for _ in range(3)] == [200, 200, 429]


def test_without_the_database_what_is_valid_goes_on_and_what_is_expired_is_refused(start_gateway):
    gateway = start_gateway()
    nearly, expired = make_session(gateway, cookie_age=250), make_session(gateway, cookie_age=400)
    run(
        gateway,
        "from django.db import connection\nconnection.cursor().execute('ALTER TABLE authgate_session RENAME TO away')",
    )
    assert gateway.get("/api/protected", headers=nearly.headers).status == 200
    assert gateway.get("/api/protected", headers=expired.headers).status == 401
