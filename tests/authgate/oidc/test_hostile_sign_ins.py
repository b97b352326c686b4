"""Signing in and out with whatever a stranger, a browser or a provider might send instead of what was meant."""

from __future__ import annotations

import base64
import itertools
import json
import secrets
from urllib.parse import parse_qs, parse_qsl, quote, quote_plus, urlencode, urlsplit

import pytest

from tests.support.agent import SCRIPT, Agent
from tests.support.gateway import Gateway
from tests.support.hostile import (
    CLIENT_SECRET,
    TOKEN,
    Reply,
    broken,
    signing_key,
)
from tests.support.oidc import add_provider
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, run
from tests.support.token_provider import CLIENT_ID, TokenProvider

SOURCES = (f"127.2.{number // 250}.{number % 250 + 1}" for number in itertools.count())
# A wrong signature may mean that the provider has replaced its keys. Within a minute of having asked it cannot be told.
REFUSED, PUT_OFF = 400, 503
LIVE = "print(json.dumps(list(Session.objects.filter(ended_at=None).values_list('sid', flat=True))))"


# --- a gateway with two providers -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def main_idp():
    with TokenProvider() as provider:
        del provider.answers[TOKEN]
        yield provider


@pytest.fixture(scope="module")
def other_idp():
    with TokenProvider() as provider:
        provider.key = signing_key(bits=3072)  # The kid is the same: a name proves nothing.
        provider.published = [provider.key.jwk]
        yield provider


@pytest.fixture(scope="module")
def site(gateway_template, session_upstream, tmp_path_factory, main_idp, other_idp):
    data_dir = tmp_path_factory.mktemp("sign-ins") / "data"
    policy, env = demo_policy(session_upstream.target), {"AUTHGATE_LOG_LEVEL": "debug"}
    with Gateway(data_dir, template=gateway_template, policy=policy, env=env) as gateway:
        add_provider(gateway, "main", main_idp.url, CLIENT_ID, CLIENT_SECRET)
        add_provider(gateway, "other", other_idp.url, CLIENT_ID, CLIENT_SECRET)
        yield gateway.start()


@pytest.fixture
def idp(main_idp):
    main_idp.claims, main_idp.token, main_idp.bend = {"aud": CLIENT_ID}, {}, str
    main_idp.seen.clear()
    yield main_idp
    main_idp.answers.clear()


@pytest.fixture
def visit(site, idp, upstream):
    return Visit(site, idp)


class Visit:
    """One browser with an address of its own, on its way through a sign-in."""

    def __init__(self, site, idp):
        self.site, self.idp, self.agent = site, idp, Agent(source=next(SOURCES))
        self.location = self.query = ""

    def send(self, path, **options):
        return self.agent.send(self.site.url + path, **options)

    def begin(self, **parameters):
        self.location = self.send(f"/auth/login?{urlencode({'provider': 'main', **parameters})}").location
        return self

    def arrive(self, path="/auth/callback/main", **answer):
        self.query = self.idp.authorize(self.location, **answer)
        return self.send(f"{path}?{self.query}")

    @property
    def asked(self):
        return parse_qs(urlsplit(self.location).query, keep_blank_values=True)


def post_logout(site, slug, token):
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    body = urlencode({"logout_token": token}).encode()
    return site.request(f"/auth/backchannel-logout/{slug}", method="POST", headers=form, body=body)


def live(site):
    return set(json.loads(run(site, LIVE)))


# --- the way there and back -----------------------------------------------------------------------------------
FOREIGN = {
    "scope": "admin", "redirect_uri": "https://evil.example/", "client_id": "other", "response_type": "token",
    "state": "x", "nonce": "y", "code_challenge": "z", "code_challenge_method": "plain", "prompt": "none",
    "response_mode": "fragment", "request_uri": "https://evil.example/", "issuer": "https://evil.example",
}  # fmt: skip
OF_ONE_SIGN_IN = ("state", "nonce", "code_challenge")


def test_what_a_link_to_the_sign_in_says_more_does_not_reach_the_provider(visit):
    plain = visit.begin(next="/").asked
    bent = visit.begin(next="/", **FOREIGN).asked
    assert all(len(values) == 1 for values in bent.values())
    assert not {value for (value,) in bent.values()} & set(FOREIGN.values())
    for asked in (plain, bent):
        assert all(asked.pop(name) for name in OF_ONE_SIGN_IN)
    assert bent == plain


def test_a_sign_in_that_a_bent_link_began_is_completed_as_ours(visit):
    assert visit.begin(next="/api/protected", **FOREIGN).arrive().headers["Location"] == "/api/protected"
    assert visit.send("/api/protected").status == 200


QUERIES = [
    "?", "?&", "?=", "?%", "?iss=", "?iss=&code=", "?code=a&code=b", "?state=a&state=b&code=c", "?code=%00",
    "?code=%00&state=%00", "?code=%FF&state=%FF", "?code=a&state=%F0%9F%8D%AA", "?error=", "?error=&state=&code=",
    "?code[]=a&state[]=b", "?code=a;state=b", "?a", f"?state={'a' * 9000}", f"?code=a&state={'a' * 9000}",
    f"?code={'a' * 9000}&state=b", f"?{'a&' * 3000}",
    f"?{'&'.join(map(str, range(1500)))}",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/auth/callback", "/auth/callback/main"])
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:24])
def test_a_callback_with_a_broken_query_is_refused_and_leads_nowhere(visit, path, query):
    page = visit.begin().send(f"{path}{query}")
    assert 400 <= page.status < 500, page.text
    assert page.headers["Location"] is None
    assert visit.agent.cookie("auth_token") is None
    assert visit.idp.count(TOKEN) == 0


def test_a_broken_callback_does_not_end_the_sign_in_that_waits(visit):
    visit.begin(next="/api/protected")
    for query in QUERIES[:5]:
        visit.send(f"/auth/callback/main{query}")
    assert visit.arrive().headers["Location"] == "/api/protected"


def test_the_callback_without_a_name_is_that_of_the_only_provider(start_gateway, idp):
    gateway = start_gateway()
    add_provider(gateway, "lone", idp.url, CLIENT_ID, CLIENT_SECRET)
    gateway.settle()
    visit = Visit(gateway, idp).begin(provider="lone", next="/api/protected")
    assert visit.arrive("/auth/callback").headers["Location"] == "/api/protected"
    sent = next(seen for seen in idp.seen if seen.path == TOKEN).form
    assert [sent["redirect_uri"]] == visit.asked["redirect_uri"] == [f"{gateway.url}/auth/callback/lone"]
    assert visit.send("/api/protected").status == 200


def test_the_callback_without_a_name_is_nobodys_where_there_are_two_providers(visit):
    page = visit.begin().arrive("/auth/callback")
    assert (page.status, visit.agent.cookie("auth_token"), visit.idp.count(TOKEN)) == (400, None, 0)


# --- signing out from elsewhere -------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def kept(site, main_idp):
    """Sessions that nothing here may end: one that the provider has named, and one that it has not."""
    provider = {"issuer": main_idp.url}
    return {make_session(site, slug="main", provider=provider, provider_sid=name).sid for name in ("kept", "")}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_a_backchannel_logout_is_posted(site, idp, kept, method):
    token = quote(idp.logout_token(sid="kept"))
    answer = site.request(f"/auth/backchannel-logout/main?logout_token={token}", method=method)
    assert (answer.status, answer.header("allow")) == (405, "POST")
    assert kept <= live(site)


def test_a_logout_token_in_the_address_is_none(site, idp, kept):
    path = f"/auth/backchannel-logout/main?logout_token={quote(idp.logout_token(sid='kept'))}"
    assert site.request(path, method="POST", body=b"").status == 400
    assert kept <= live(site)


def test_a_frame_of_the_provider_ends_the_one_session_it_names(visit, kept):
    one, two = (make_session(visit.site, slug="main", provider_sid=name).sid for name in ("one", "two"))
    page = visit.send(f"/auth/frontchannel-logout/main?{urlencode({'iss': visit.idp.url, 'sid': 'one'})}")
    after = live(visit.site)
    assert (page.status, one in after, kept | {two} <= after) == (200, False, True)


FRAMES = {
    "wrong iss": ("main", {"iss": "https://other.example", "sid": "kept"}),
    "iss with a slash more": ("main", {"iss": "{main}/", "sid": "kept"}),
    "iss of another provider": ("main", {"iss": "{other}", "sid": "kept"}),
    "at another provider": ("other", {"iss": "{main}", "sid": "kept"}),
    "at another provider, in its name": ("other", {"iss": "{other}", "sid": "kept"}),
    "wrong sid": ("main", {"iss": "{main}", "sid": "kept1"}),
    "empty sid": ("main", {"iss": "{main}", "sid": ""}),
    "empty iss": ("main", {"iss": "", "sid": "kept"}),
    "no sid": ("main", {"iss": "{main}"}),
    "no iss": ("main", {"sid": "kept"}),
    "nothing": ("main", {}),
}


@pytest.mark.parametrize(("slug", "query"), FRAMES.values(), ids=FRAMES)
def test_a_frame_that_does_not_name_issuer_and_session_ends_none(visit, other_idp, kept, slug, query):
    issuers = {"main": visit.idp.url, "other": other_idp.url}
    filled = {name: value.format(**issuers) for name, value in query.items()}
    assert visit.send(f"/auth/frontchannel-logout/{slug}?{urlencode(filled)}").status == 200
    assert kept <= live(visit.site)


@pytest.mark.parametrize("slug", ["main", "other"])
def test_a_logout_token_in_the_name_of_another_provider_ends_nothing(site, idp, other_idp, kept, slug):
    assert post_logout(site, slug, other_idp.logout_token(iss=idp.url, sid="kept")).status in (REFUSED, PUT_OFF)
    assert kept <= live(site)


@pytest.mark.parametrize("whom", [{"sid": "kept"}, {"sub": "alice"}], ids=["by session", "by subject"])
def test_a_logout_token_of_one_provider_ends_nothing_at_another(site, idp, kept, whom):
    assert post_logout(site, "other", idp.logout_token(**whom)).status in (REFUSED, PUT_OFF)
    assert kept <= live(site)


@pytest.mark.parametrize("whom", [{"sid": "kept"}, {"sub": "alice"}], ids=["by session", "by subject"])
def test_a_provider_ends_no_session_that_began_at_another(site, other_idp, kept, whom):
    assert post_logout(site, "other", other_idp.logout_token(**whom)).status == 200
    assert kept <= live(site)


# --- what is logged -------------------------------------------------------------------------------------------
class Secrets:
    """What one visit has to keep to itself, as it becomes known."""

    def __init__(self, visit):
        self.visit, self.access, self.refresh = visit, secrets.token_urlsafe(), secrets.token_urlsafe()
        self.tokens = [self.access, self.refresh]
        visit.idp.token = {"access_token": self.access, "refresh_token": self.refresh}
        visit.idp.bend = self.keep

    def keep(self, token):
        self.tokens.append(token)
        return token

    def __iter__(self):
        pair = f"{CLIENT_ID}:{quote_plus(CLIENT_SECRET)}"
        yield from (CLIENT_SECRET, quote_plus(CLIENT_SECRET), base64.b64encode(pair.encode()).decode())
        visit = self.visit
        yield from (visit.asked[name][0] for name in OF_ONE_SIGN_IN if visit.location)
        yield from (value for name, value in parse_qsl(visit.query) if name in ("code", "state"))
        yield from (seen.form["code_verifier"] for seen in visit.idp.seen if "code_verifier" in seen.form)
        values = [*self.tokens, *(cookie.value for cookie in visit.agent.jar)]
        yield from (part for value in values for part in value.split(".")[-2:] if len(part) > 8)


def repeating(status):
    """An answer that says again all that it was asked with."""
    return lambda seen: Reply(
        status, {"error": "invalid_grant", "error_description": f"{seen.form} {seen.headers}", **seen.form}
    )


def told_too_much(visit):
    visit.idp.answers[TOKEN] = repeating(400)
    assert visit.begin().arrive().status == 502


def told_nonsense(visit):
    visit.idp.answers[TOKEN] = lambda seen: Reply(500, f"{seen.form} {seen.headers}".encode())
    assert visit.begin().arrive().status == 502


def badly_signed(visit):
    visit.idp.bend = lambda token, keep=visit.idp.bend: broken(keep(token))
    assert visit.begin().arrive().status in (502, PUT_OFF)


def came_back_twice(visit):
    assert visit.begin().arrive().status == 302
    assert Agent(source=next(SOURCES)).send(f"{visit.site.url}/auth/callback/main?{visit.query}").status == 400


def came_back_with_an_error(visit):
    assert visit.begin().arrive(error="access_denied", error_description="no").status == 400


def signed_in(visit):
    assert visit.begin().arrive().status == 302
    assert visit.send("/api/protected").status == 200


def refreshing(visit, secret_values):
    claims = {"iss": visit.idp.url, "sub": "alice", "nonce": "", "email": "alice@example.com", "email_verified": True}
    made = make_session(visit.site, slug="main", cookie_age=400, refresh_token=secret_values.refresh, claims=claims)
    secret_values.keep(made.cookie)
    return visit.send("/api/protected", headers={**SCRIPT, **dict(made.headers)}).status


SIGN_INS = {
    "a sign-in": signed_in,
    "a sign-in whose code is refused": told_too_much,
    "a sign-in that meets a failure": told_nonsense,
    "a sign-in with a bad signature": badly_signed,
    "a sign-in that came back twice": came_back_twice,
    "a sign-in that was cancelled": came_back_with_an_error,
}


def logged(site):
    """All until now: the line of a last request has come."""
    path = f"/api/public/{secrets.token_hex(8)}"
    site.get(path)
    assert site.log_lines(wait_for=1, path=path)
    return site.output


def leaked(site, secret_values):
    output = logged(site)
    return {value for value in secret_values if value in output}


@pytest.mark.parametrize("happen", SIGN_INS.values(), ids=SIGN_INS)
def test_a_sign_in_logs_none_of_its_secrets(visit, happen):
    secret_values = Secrets(visit)
    happen(visit)
    assert not leaked(visit.site, secret_values)


def test_a_refresh_logs_none_of_its_secrets(visit):
    secret_values = Secrets(visit)
    assert refreshing(visit, secret_values) == 200
    assert not leaked(visit.site, secret_values)


@pytest.mark.parametrize(
    ("answer", "status"),
    [(repeating(400), 401), (repeating(503), 200), (lambda seen: Reply(502, f"{seen.form}".encode()), 200)],
    ids=["refused", "put off", "not understood"],
)
def test_a_refresh_that_fails_logs_none_of_its_secrets(visit, answer, status):
    secret_values = Secrets(visit)
    visit.idp.answers[TOKEN] = answer
    assert refreshing(visit, secret_values) == status
    assert not leaked(visit.site, secret_values)


def test_a_refresh_with_a_bad_signature_logs_none_of_its_secrets(visit):
    secret_values = Secrets(visit)
    visit.idp.bend = lambda token: broken(secret_values.keep(token))
    assert refreshing(visit, secret_values) in (401, 200)
    assert not leaked(visit.site, secret_values)


@pytest.mark.parametrize(
    ("bend", "statuses"), [(str, {200}), (broken, {REFUSED, PUT_OFF})], ids=["accepted", "refused"]
)
def test_a_backchannel_logout_logs_none_of_its_secrets(visit, bend, statuses):
    secret_values = Secrets(visit)
    token = bend(secret_values.keep(visit.idp.logout_token(sid="nobody")))
    assert post_logout(visit.site, "main", token).status in statuses
    assert not leaked(visit.site, [*secret_values, token])


def test_the_gateway_whose_log_is_searched_logs_all_it_can(visit):
    visit.begin().arrive()
    assert " DEBUG " in logged(visit.site)
