"""What a visitor reads in the place of a page, as a gateway for others sends it, and what only an operator reads."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tests.support.gateway import Gateway
from tests.support.sessions import make_session, new_cookie, run

PAGE = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("Sec-Fetch-Mode", "navigate")]
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
POLICY = """\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
  gone: {{targets: ["http://127.0.0.1:9"]}}
roles: {{admin: {{admin: superuser}}, staff: {{}}}}
grants: [{{role: admin, when: {{claim: groups, contains: operators}}}}]
rate_limits: {{slow: {{rate: 1/m, burst: 1, per: client}}}}
routes:
  - {{name: protected, path: /protected, access: authenticated, upstream: api}}
  - {{name: staff, path: /staff, access: roles, roles: [staff], upstream: api}}
  - {{name: gone, path: /gone, access: public, upstream: gone}}
  - {{name: slow, path: /slow, access: public, upstream: api, rate_limit: slow}}
  - {{name: closed, path: /closed, access: public, enabled: false, upstream: api}}
  - {{name: wiki, host: wiki.example.com, path: /w, access: authenticated, upstream: api}}
"""
PROVIDER = """
IdentityProvider.objects.create(
    slug="idp", client_id="gateway", issuer="https://idp.example", require_verified_email=False
)
"""
HOST = "gateway.example"


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    """For others than this machine."""
    data_dir = tmp_path_factory.mktemp("refused") / "data"
    options = {
        "policy": POLICY.format(target=session_upstream.target),
        "env": {"AUTHGATE_PUBLIC_URL": f"http://{HOST}"},
    }
    with Gateway(data_dir, template=gateway_template, **options) as gateway:
        run(gateway, PROVIDER)
        yield gateway.start()


def ask(gateway, path, method="GET", headers=PAGE, host=HOST, body=b""):
    return gateway.request(path, method=method, headers=headers, host=host, body=body)


@pytest.fixture(scope="module")
def operator(gateway):
    """The headers of a browser in which somebody with the role for /admin/ is signed in."""
    return operator_on(gateway, HOST)


def operator_on(gateway, host):
    """Each host has a cookie of its own."""
    old = make_session(gateway, "root", claims={"groups": ["operators"]}, cookie_age=400)
    renewed = ask(gateway, "/auth/me", headers=old.headers, host=host)
    return [*PAGE, ("Cookie", (new_cookie(renewed) or "").partition(";")[0])]


# --- who gets a page, and who a 401 ------------------------------------------------------------------------


def test_a_form_that_comes_after_the_session_has_ended_is_answered_with_a_page_and_not_led_away(gateway):
    refused = ask(gateway, "/protected/save", "POST", body=b"a=1")
    assert (refused.status, refused.header("location")) == (401, None)
    assert refused.header("content-type") == "text/html; charset=utf-8"
    assert "You are signed out" in refused.text
    assert 'href="/auth/login" target="_blank" rel="noopener"' in refused.text


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Accept", "text/html;q=0.01, */*")], id="html least"),
        pytest.param([("Accept", JAVA)], id="Java"),
        pytest.param([("Accept", PIP)], id="pip"),
        pytest.param([("Accept", "*/*")], id="curl, wget, git"),
        pytest.param([], id="Go"),
        pytest.param([("Accept", "text/html"), ("Authorization", "Basic eDp5")], id="a password"),
    ],
)
@pytest.mark.parametrize("path", ["/protected", "/dashboard", "/auth/me"])
def test_a_program_gets_a_401_that_it_understands(gateway, path, headers):
    refused = ask(gateway, path, headers=headers)
    assert (refused.status, refused.header("location"), refused.json()["reason"]) == (401, None, "no_credential")
    assert refused.header("www-authenticate").startswith("Bearer")


def test_a_browser_with_a_password_of_the_service_is_shown_the_way_and_not_led(gateway):
    refused = ask(gateway, "/protected?a=1", headers=[*PAGE, ("Authorization", "Basic eDp5")])
    assert (refused.status, refused.header("location")) == (401, None)
    assert 'href="/auth/login?next=/protected%3Fa%3D1"' in refused.text


def test_a_browser_that_does_not_say_that_it_navigates_is_still_led_to_sign_in(gateway):
    chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    assert ask(gateway, "/protected", headers=[("Accept", chrome)]).header("location") == "/auth/login?next=/protected"


def test_an_address_that_cannot_be_read_is_refused_with_a_page_too(gateway):
    refused = ask(gateway, "/a/../b")
    assert (refused.status, refused.header("referrer-policy")) == (400, "no-referrer")
    assert "This address cannot be opened." in refused.text


# --- what it says ------------------------------------------------------------------------------------------

DEAD_ENDS = [("/nowhere", 404), ("/closed", 404), ("/gone", 502), ("/a/../b", 400)]


@pytest.mark.parametrize(("path", "status"), DEAD_ENDS)
def test_a_visitor_is_led_on_and_reads_nothing_of_policy(gateway, path, status):
    refused = ask(gateway, path)
    assert refused.status == status
    assert 'href="/"' in refused.text
    for word in ("olicy", "route serves", "upstream", "<code>gone", "<code>closed", "/admin/", "gateway cannot"):
        assert word not in refused.text.replace("upstream_unreachable", "")


@pytest.mark.parametrize(("path", "status"), DEAD_ENDS[:3])
def test_an_operator_reads_what_to_mend(gateway, operator, path, status):
    refused = ask(gateway, path, headers=operator)
    assert refused.status == status
    assert "For operators" in refused.text
    assert 'href="/admin/"' in refused.text


def test_an_operator_reads_which_route_and_upstream_it_is(gateway, operator):
    assert "Route <code>gone</code>, upstream <code>gone</code>" in ask(gateway, "/gone", headers=operator).text


def test_an_operator_on_a_services_host_is_led_to_the_admin_of_the_gateways(gateway):
    operator = operator_on(gateway, "wiki.example.com")
    refused = ask(gateway, "/nowhere", headers=operator, host="wiki.example.com")
    assert f'href="http://{HOST}/admin/"' in refused.text
    assert "/dashboard" not in refused.text


def test_a_token_with_the_operators_roles_is_no_operator(gateway):
    token = ("Authorization", f"Bearer {gateway.mint('root', roles=('admin',))}")
    assert "For operators" not in ask(gateway, "/nowhere", headers=[*PAGE, token]).text


def test_a_token_with_the_operators_roles_in_the_sessions_cookie_is_no_operator(gateway):
    cookie = ("Cookie", f"auth_token={gateway.mint('root', roles=('admin',))}")
    assert "For operators" not in ask(gateway, "/nowhere", headers=[*PAGE, cookie]).text


def test_a_service_that_is_down_is_worth_another_try_at_the_same_address(gateway):
    assert 'class="button" href="/gone/x?a=1&amp;b=%22"' in ask(gateway, "/gone/x?a=1&b=%22").text
    assert "<a class=" not in ask(gateway, "/gone/x", "POST", body=b"a=1").text.partition("<main")[2]


def test_who_asked_too_often_reads_how_long_to_wait(gateway):
    answers = [ask(gateway, "/slow") for _ in range(2)]
    seconds = int(answers[1].header("retry-after"))
    assert answers[1].status == 429
    assert f"Wait {seconds} seconds, then try again." in answers[1].text
    told = ask(gateway, "/slow", headers=[]).json()
    assert 0 < told["retry_after"] <= seconds


def test_who_tried_too_many_passwords_reads_how_long_to_wait(gateway):
    form = "username=nobody&password=wrong"
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', (login := ask(gateway, "/admin/login/")).text)
    cookie = next(value for name, value in login.headers if value.startswith("authgate_csrf")).partition(";")[0]
    sent = [("Cookie", cookie), ("Content-Type", "application/x-www-form-urlencoded"), ("Origin", f"http://{HOST}")]
    body = f"{form}&csrfmiddlewaretoken={token[1]}".encode()
    tries = (ask(gateway, "/admin/login/", "POST", headers=[*PAGE, *sent], body=body) for _ in range(12))
    page = next(answer for answer in tries if answer.status == 429)
    seconds = int(page.header("retry-after"))
    assert re.search(rf"Wait {seconds} seconds?, then try again.", page.text)
    told = ask(gateway, "/admin/login/", "POST", headers=sent, body=body)
    assert (told.status, told.json()["retry_after"]) == (429, int(told.header("retry-after")))


def test_the_start_page_tells_no_visitor_to_edit_the_policy(gateway):
    page = ask(gateway, "/")
    assert page.status == 200
    assert 'href="/dashboard"' in page.text
    for word in ("olicy", "AUTHGATE_", "/admin/"):
        assert word not in page.text


def test_the_start_page_leads_an_operator_to_the_admin(gateway, operator):
    page = ask(gateway, "/", headers=operator)
    assert "No route serves this page yet" in page.text
    assert 'href="/admin/"' in page.text


LOCAL = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
user = User.objects.create_superuser("local", password="x" * 20)
session = SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session.save()
print(session.session_key)
"""


def test_the_start_page_leads_whoever_signed_in_by_password_to_the_admin(gateway):
    page = ask(gateway, "/", headers=[*PAGE, ("Cookie", f"authgate_admin={run(gateway, LOCAL).strip()}")])
    assert 'href="/admin/"' in page.text
    planted = ask(gateway, "/", headers=[*PAGE, ("Cookie", f"authgate_admin={'a' * 32}")])
    assert (planted.status, "/admin/" in planted.text) == (200, False)


def test_on_this_machine_alone_everybody_reads_what_to_mend_and_no_name_of_the_policy(start_gateway, session_upstream):
    gateway = start_gateway(policy=POLICY.format(target=session_upstream.target))
    page = gateway.get("/gone", headers=PAGE).text
    assert "For operators" in page
    assert "<code>gone</code>" not in page
    # A proxy on the same machine may serve strangers; it then passes their Host, or is trusted and names their address.
    elsewhere = gateway.request("/w", method="GET", headers=PAGE, host="wiki.example.com").text
    assert "For operators" not in elsewhere


# --- as somebody else, and sessions that no longer count ---------------------------------------------------


def test_who_signs_in_as_somebody_else_comes_back_to_the_page_that_was_refused(gateway):
    made = make_session(gateway, "bob")
    refused = ask(gateway, "/staff?a=1&b=2", headers=[*PAGE, *made.headers])
    assert refused.status == 403
    wanted = re.search(r'name="next" value="([^"]+)"', refused.text)
    assert wanted is not None
    form = f"next={unescape(wanted[1]).replace('&', '%26')}".encode()
    sent = [("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/x-www-form-urlencoded"), *made.headers]
    left = ask(gateway, "/auth/logout", "POST", headers=sent, body=form)
    assert (left.status, left.header("location")) == (303, "/auth/signed-out?next=/staff%3Fa%3D1%26b%3D2")
    page = ask(gateway, left.header("location"))
    assert 'href="/auth/login?next=/staff%3Fa%3D1%26b%3D2"' in page.text


@pytest.mark.parametrize("planted", ["//evil.example/x", "https://evil.example", "/auth/login"])
def test_a_form_or_a_cookie_leads_nowhere_else(gateway, planted):
    sent = [("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/x-www-form-urlencoded")]
    left = ask(gateway, "/auth/logout", "POST", headers=sent, body=f"next={planted}".encode())
    assert left.header("location") == "/auth/signed-out?next=/dashboard"
    page = ask(gateway, "/auth/signed-out", headers=[*PAGE, ("Cookie", f"authgate_next={planted}")])
    assert 'href="/auth/login?next=/dashboard"' in page.text


ARRIVED = "authgate_arrived=1"


def test_a_session_cookie_that_did_not_come_back_is_blamed_on_cookies(gateway):
    page = ask(gateway, "/auth/login", headers=[*PAGE, ("Cookie", ARRIVED)])
    assert "did not send the session cookie" in page.text


def test_a_session_cookie_that_came_and_no_longer_counts_is_not(gateway):
    page = ask(gateway, "/auth/login", headers=[*PAGE, ("Cookie", f"{ARRIVED}; auth_token=a.b.c")])
    assert "Your session is no longer valid." in page.text
    assert "Allow cookies" not in page.text
