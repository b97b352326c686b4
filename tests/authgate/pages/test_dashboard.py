"""The dashboard and signing out, as a browser's requests meet a running gateway."""

from __future__ import annotations

import re

import pytest

from tests.support.gateway import Gateway
from tests.support.sessions import make_session, new_cookie, row, run

POLICY = """\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
roles: {{admin: {{}}}}
grants: [{{role: admin, when: {{claim: groups, contains: staff}}}}]
routes:
  - {{name: public, path: /public, access: public, upstream: api}}
  - {{name: protected, path: /protected, access: authenticated, upstream: api}}
  - {{name: admins, path: /admins, access: roles, roles: [admin], upstream: api}}
  - {{name: uploads, path: /uploads, access: authenticated, methods: [POST], upstream: api}}
  - {{name: closed, path: /closed, access: public, enabled: false, upstream: api}}
  - {{name: wiki, host: wiki.example.com, path: /, access: authenticated, upstream: api}}
  - {{name: moved, path: /moved, access: authenticated, redirect: {{to: /protected}}}}
  - {{name: tenants, host: "*.example.com", path: /t, access: authenticated, upstream: api}}
"""
PAGE = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")]
SAME_SITE = [("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/x-www-form-urlencoded")]
PROVIDER = {"name": "Main", "issuer": "http://127.0.0.1:9", "logout": "local"}


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("dashboard") / "data"
    policy = POLICY.format(target=session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as gateway:
        run(gateway, "IdentityProvider.objects.create(slug='idp', client_id='gateway')")
        yield gateway.start()


def sign_in(gateway, subject, **options):
    return make_session(gateway, subject, provider=PROVIDER, **options)


def post(gateway, path, made, body=b"", headers=SAME_SITE):
    return gateway.request(path, method="POST", headers=[*headers, *made.headers], body=body)


def is_signed_in(gateway, made):
    """In every worker: each connection goes to either."""
    statuses = {gateway.get("/auth/me", headers=made.headers).status for _ in range(8)}
    assert len(statuses) == 1
    return statuses == {200}


# --- the dashboard -----------------------------------------------------------------------------------------


def test_the_dashboard_lists_what_i_may_open_and_nothing_else(gateway):
    page = gateway.get("/dashboard", headers=[*PAGE, *sign_in(gateway, "lister").headers]).text
    links = re.findall(r'<li><a href="([^"]+)"><strong>([^<]+)', page)
    assert links == [
        ("/public", "public"),
        ("/protected", "protected"),
        (f"http://wiki.example.com:{gateway.port}/", "wiki"),
    ]
    assert "*.example.com/t" in page


def test_a_role_opens_its_routes_on_the_dashboard(gateway):
    token = gateway.mint("boss", roles=("admin",), name="The <Boss>", email="boss@example.com")
    page = gateway.get("/dashboard", token=token, headers=PAGE).text
    for words in ('href="/admins"', "The &lt;Boss&gt;", "boss@example.com"):
        assert words in page
    assert "Active sessions" not in page


def test_the_dashboard_shows_all_my_sessions_and_marks_this_one(gateway):
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
    mine = sign_in(gateway, "many", user_agent=firefox, address="203.0.113.7", host="wiki.example.com:8443")
    other = sign_in(gateway, "many", user_agent="curl/8 <script>")
    sign_in(gateway, "many", left=-1, user_agent="over")
    sign_in(gateway, "stranger", user_agent="a stranger's")
    page = gateway.get("/dashboard", headers=[*PAGE, *mine.headers]).text
    assert page.index("Firefox on Linux") < page.index("this browser") < page.index("curl/8 &lt;script&gt;")
    assert "203.0.113.7" in page
    assert "wiki.example.com:8443" in page
    assert f'value="{other.sid}"' in page
    assert mine.sid not in page
    assert "over" not in re.findall("<strong>([^<]+)", page)
    assert "stranger" not in page


# --- ending sessions ---------------------------------------------------------------------------------------


def test_i_end_one_of_my_sessions(gateway):
    mine, other = sign_in(gateway, "ender"), sign_in(gateway, "ender")
    response = post(gateway, "/auth/sessions/end", mine, b"sid=" + other.sid.encode())
    assert (response.status, response.header("location")) == (303, "/dashboard")
    gateway.settle()
    assert not is_signed_in(gateway, other)
    assert is_signed_in(gateway, mine)


def test_nobody_ends_the_session_of_somebody_else(gateway):
    mine, theirs = sign_in(gateway, "mallory"), sign_in(gateway, "victim")
    post(gateway, "/auth/sessions/end", mine, b"sid=" + theirs.sid.encode())
    assert not row(gateway, theirs.sid)["ended"]


def test_i_end_all_others(gateway):
    mine, others = sign_in(gateway, "tidy"), [sign_in(gateway, "tidy") for _ in range(2)]
    post(gateway, "/auth/sessions/end", mine, b"which=others")
    gateway.settle()
    assert [is_signed_in(gateway, made) for made in (mine, *others)] == [True, False, False]


def test_i_sign_out_everywhere(gateway):
    mine, other = sign_in(gateway, "leaver"), sign_in(gateway, "leaver")
    response = post(gateway, "/auth/sessions/end", mine, b"which=everywhere")
    assert (response.status, response.header("location")) == (303, "/auth/signed-out")
    assert "Max-Age=0" in new_cookie(response)
    gateway.settle()
    assert [is_signed_in(gateway, made) for made in (mine, other)] == [False, False]


def test_whoever_is_not_signed_in_ends_nothing(gateway):
    assert gateway.request("/auth/sessions/end", method="POST", headers=SAME_SITE, body=b"").status == 401


# --- signing out -------------------------------------------------------------------------------------------


def test_signing_out_ends_the_session_everywhere_and_takes_the_cookie_away(gateway):
    made = sign_in(gateway, "goer")
    response = post(gateway, "/auth/logout", made)
    assert response.status == 303
    assert response.header("location").startswith("/auth/signed-out?next=")
    assert new_cookie(response).startswith("auth_token=")
    assert "Max-Age=0" in new_cookie(response)
    gateway.settle()
    assert not is_signed_in(gateway, made)
    assert row(gateway, made.sid)["ended"]


def test_a_cookie_past_its_minutes_still_signs_its_session_out(gateway):
    made = sign_in(gateway, "sleeper", cookie_age=400)
    answer = post(gateway, "/auth/logout", made)
    assert row(gateway, made.sid)["ended"]
    assert "Max-Age=0" in new_cookie(answer)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Sec-Fetch-Site", "cross-site")], id="another site"),
        pytest.param([("Sec-Fetch-Site", "same-site")], id="a sibling"),
        pytest.param([("Origin", "https://evil.example")], id="another origin"),
        pytest.param([("Origin", "null")], id="no origin"),
    ],
)
@pytest.mark.parametrize("path", ["/auth/logout", "/auth/sessions/end"])
def test_another_site_signs_nobody_out(gateway, path, headers):
    made = sign_in(gateway, "forged")
    assert post(gateway, path, made, b"which=everywhere", headers).status == 403
    assert not row(gateway, made.sid)["ended"]


def test_a_link_signs_nobody_out(gateway):
    made = sign_in(gateway, "linked")
    page = gateway.get("/auth/logout", headers=[*PAGE, *made.headers])
    assert '<form method="post" action="/auth/logout">' in page.text
    assert not row(gateway, made.sid)["ended"]


def test_signing_out_leads_back_to_where_it_was_asked_for(gateway):
    for referer, expected in [
        ("/admins?x=1", "/admins%3Fx%3D1"),
        ("/auth/logout", "/dashboard"),
        ("//evil.example", "/dashboard"),
    ]:
        headers = [*SAME_SITE, ("Referer", gateway.url + referer)]
        response = gateway.request("/auth/logout", method="POST", headers=headers)
        assert response.header("location") == f"/auth/signed-out?next={expected}"


def test_the_signed_out_page_offers_the_way_back_in(gateway):
    page = gateway.get("/auth/signed-out?next=/admins", headers=PAGE).text
    assert "You are signed out" in page
    assert 'href="/auth/login?next=/admins"' in page
    assert "evil" not in gateway.get("/auth/signed-out?next=https://evil.example&state=x", headers=PAGE).text
