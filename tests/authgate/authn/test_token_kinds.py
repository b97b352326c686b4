"""No token passes for one of another kind (RFC 8725 3.12): each is valid, and as like the others as it can be."""

from __future__ import annotations

import itertools
import time
from base64 import b64encode
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.support.agent import SCRIPT, Agent
from tests.support.gateway import Gateway
from tests.support.hostile import CLIENT_SECRET, TOKEN
from tests.support.introspecting import API, IntrospectingIssuer, add_issuer
from tests.support.oidc import add_provider
from tests.support.policies import demo_policy
from tests.support.sessions import make_session
from tests.support.token_provider import CLIENT_ID, TokenProvider

ROUTES = """routes:
  - {name: machines, path: /machines, access: authenticated, issuers: [machines], upstream: api}
  - {name: asked, path: /asked, access: authenticated, issuers: [asked], upstream: api}"""
SOURCES = (f"127.3.{number // 250}.{number % 250 + 1}" for number in itertools.count())


@pytest.fixture(scope="module")
def idp():
    with TokenProvider() as provider:
        del provider.answers[TOKEN]
        yield provider


@pytest.fixture(scope="module")
def site(gateway_template, session_upstream, tmp_path_factory, idp):
    data_dir = tmp_path_factory.mktemp("kinds") / "data"
    policy = demo_policy(session_upstream.target).replace("routes:", ROUTES, 1)
    with Gateway(data_dir, template=gateway_template, policy=policy) as gateway, IntrospectingIssuer() as asked:
        add_provider(gateway, "main", idp.url, CLIENT_ID, CLIENT_SECRET)
        # The same server, as with Keycloak: its keys sign ID tokens, access tokens, logout tokens and events.
        audiences = ("--audience", CLIENT_ID, "--audience", API)
        gateway.shell.command("issuer", "add", "machines", "--issuer", idp.url, *audiences)
        add_issuer(gateway, "asked", asked.url)
        gateway.asked = asked
        yield gateway.start()


@pytest.fixture
def visit(site, idp, upstream):
    idp.claims, idp.token, idp.bend = {"aud": CLIENT_ID}, {}, str
    return Visit(site, idp, upstream)


class Visit:
    """A browser in the middle of a sign-in."""

    def __init__(self, site, idp, upstream):
        self.site, self.idp, self.upstream = site, idp, upstream
        self.agent = Agent(source=next(SOURCES))
        self.location = self.send("/auth/login?next=/api/protected").location
        asked = parse_qs(urlsplit(self.location).query)
        self.state, self.nonce = asked["state"][0], asked["nonce"][0]

    def send(self, path, **options):
        return self.agent.send(self.site.url + path, **options)

    def arrive(self, **answer):
        return self.send(f"/auth/callback/main?{self.idp.authorize(self.location, **answer)}")

    def like_an_id_token(self, **changes):
        now = int(time.time())
        return {
            "iss": self.idp.url, "sub": "alice", "aud": CLIENT_ID, "iat": now, "exp": now + 300, "jti": "j-1",
            "sid": "s-1", "nonce": self.nonce, "email": "alice@example.com", "email_verified": True, **changes,
        }  # fmt: skip


# --- the kinds --------------------------------------------------------------------------------------------------
def session_cookie(visit):
    return make_session(visit.site, slug="main").cookie


def access_token(visit):
    return visit.site.mint("alice")


def assertion(visit):
    visit.site.get("/api/protected", token=access_token(visit))
    return visit.upstream.only.header("x-auth-assertion")


def id_token(visit):
    return visit.idp.sign(visit.like_an_id_token())


def access_token_of_the_provider(visit):
    claims = visit.like_an_id_token(nonce=..., client_id=CLIENT_ID, scope="openid", aud=[CLIENT_ID, API])
    return visit.idp.sign(claims, typ="at+jwt")


def opaque_token(visit):
    return visit.site.asked.grant(f"opaque-{time.time_ns()}")


def service_token(visit):
    name = f"t-{time.time_ns()}"
    return visit.site.shell.command("service_token", "create", name, "--quiet").strip()


def logout_token(visit):
    claims = visit.like_an_id_token(nonce=..., jti=f"j-{time.time_ns()}", auth_time=...)
    return visit.idp.logout_token(**claims)


def security_event(visit):
    claims = visit.like_an_id_token(nonce=..., exp=..., jti=f"j-{time.time_ns()}")
    return visit.idp.event("caep session-revoked", **claims)


def state(visit):
    return visit.state


# --- the places: whether it passed there ------------------------------------------------------------------------
def as_bearer(visit, token):
    page = visit.send("/api/protected", headers={**SCRIPT, "Authorization": f"Bearer {token}"})
    assert page.status in (200, 401)
    return page.status == 200


def as_basic_password(visit, token):
    return passes(visit, "/api/protected", f"Basic {b64encode(f'x:{token}'.encode()).decode()}")


def as_token_of_the_provider(visit, token):
    return passes(visit, "/machines", f"Bearer {token}")


def as_opaque_token(visit, token):
    return passes(visit, "/asked", f"Bearer {token}")


def passes(visit, path, authorization):
    page = visit.send(path, headers={**SCRIPT, "Authorization": authorization})
    assert page.status in (200, 401, 403)
    return page.status == 200


def as_session_cookie(visit, token):
    page = visit.send("/api/protected", headers={**SCRIPT, "Cookie": f"auth_token={token}"})
    assert page.status in (200, 401)
    return page.status == 200


def as_state(visit, token):
    page = visit.arrive(state=token)
    assert (page.status, visit.agent.cookie("auth_token") is None) in ((302, False), (400, True))
    return page.status == 302


def as_id_token(visit, token):
    visit.idp.token["id_token"] = token
    page = visit.arrive()
    assert (page.status, visit.agent.cookie("auth_token") is None) in ((302, False), (502, True))
    return page.status == 302


def as_refreshed_id_token(visit, token):
    claims = {"iss": visit.idp.url, "sub": "alice", "nonce": visit.nonce}
    made = make_session(visit.site, slug="main", cookie_age=400, refresh_token="r", claims=claims)
    visit.idp.token["id_token"] = token
    page = visit.send("/api/protected", headers={**SCRIPT, **dict(made.headers)})
    assert page.status in (200, 401)
    return page.status == 200


def as_logout_token(visit, token):
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    body = urlencode({"logout_token": token}).encode()
    answer = visit.site.request("/auth/backchannel-logout/main", method="POST", headers=headers, body=body)
    assert answer.status in (200, 400)
    return answer.status == 200


def as_security_event(visit, token):
    headers = [("Content-Type", "application/secevent+jwt")]
    answer = visit.site.request("/auth/events/main", method="POST", headers=headers, body=token.encode())
    assert answer.status in (202, 400)
    return answer.status == 202


PLACES = (
    as_bearer, as_basic_password, as_token_of_the_provider, as_opaque_token, as_session_cookie, as_state, as_id_token,
    as_refreshed_id_token, as_logout_token, as_security_event,
)  # fmt: skip
PASSES = {
    session_cookie: {as_session_cookie},
    # A browser may carry one as its session.
    access_token: {as_bearer, as_session_cookie},
    assertion: set(),
    id_token: {as_id_token, as_refreshed_id_token},
    access_token_of_the_provider: {as_bearer, as_token_of_the_provider},
    opaque_token: {as_bearer, as_opaque_token},
    service_token: {as_bearer, as_basic_password},
    logout_token: {as_logout_token},
    security_event: {as_security_event},
    state: {as_state},
}
CELLS = [
    pytest.param(kind, place, id=f"{kind.__name__} {place.__name__}".replace("_", " "))
    for kind, place in itertools.product(PASSES, PLACES)
]


@pytest.mark.parametrize(("kind", "place"), CELLS)
def test_a_token_passes_only_where_its_kind_belongs(visit, kind, place):
    assert place(visit, kind(visit)) is (place in PASSES[kind])


@pytest.mark.parametrize("typ", ["logout+jwt", "at+jwt", "application/at+jwt", "session+jwt", "secevent+jwt", "", None])
@pytest.mark.parametrize("place", [as_id_token, as_refreshed_id_token])
def test_an_id_token_that_names_another_type_is_none(visit, place, typ):
    assert not place(visit, visit.idp.sign(visit.like_an_id_token(), typ=typ))


@pytest.mark.parametrize("typ", [..., "JWT"])
@pytest.mark.parametrize("place", [as_id_token, as_refreshed_id_token])
def test_an_id_token_names_the_type_of_any_token_or_none(visit, place, typ):
    assert place(visit, visit.idp.sign(visit.like_an_id_token(), typ=typ))
