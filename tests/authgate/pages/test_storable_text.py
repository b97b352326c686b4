"""A bad value is no outage: NUL and halves of surrogate pairs, sent to every page of the gateway's own."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

import pytest
from django.db import DataError

from authgate.pages.storable_text import StorableTextMiddleware, is_storable
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, run

PASSWORD = "a password of the tests"
MAKE_ADMIN = f"""
from django.contrib.auth.models import User
from authgate.models.trust import RevokedToken
User.objects.create_superuser("root", password={PASSWORD!r})
IdentityProvider.objects.create(slug="main", issuer="https://idp.example", client_id="c")
"""
FORM = [("Content-Type", "application/x-www-form-urlencoded")]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("storable") / "data", demo_policy(session_upstream.target)
    if request.param == "sqlite":
        options = {"template": gateway_template}
    else:
        options = request.getfixturevalue("on_postgresql")()
    with Gateway(data_dir, policy=policy, **options) as gateway:
        run(gateway, MAKE_ADMIN)
        yield gateway.start()


@pytest.fixture(scope="module")
def cookies(site):
    """Of a superuser who has signed in to the admin."""
    page = site.get("/admin/login/")
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.body.decode())[1]
    jar = cookies_of(page)
    answer = post(site, "/admin/login/", jar, csrfmiddlewaretoken=token, username="root", password=PASSWORD)
    assert answer.status == 302
    return jar | cookies_of(answer)


def cookies_of(answer):
    pairs = (value.partition(";")[0].partition("=") for value in answer.all("set-cookie"))
    return {name: value for name, _, value in pairs}


def as_header(jar):
    return [("Cookie", "; ".join(f"{name}={value}" for name, value in jar.items()))]


def post(site, path, jar, **fields):
    headers = [*as_header(jar), *FORM, ("Origin", site.url)]
    return site.request(path, method="POST", headers=headers, body=urlencode(fields).encode())


ADMIN_QUERIES = [
    "person/?q=%00", "person/?provider__id__exact=%00", "person/?is_active__exact=a%00", "person/?p=%00",
    "person/?o=%00",
    "session/?person__provider__id__exact=%00", "session/?state=%00", "policyrevision/?author=a%00b",
    "policyrevision/?created_at__gte=%00", "identityprovider/add/?preset=%00", "revokedtoken/?q=%00",
    "identityprovider/?kind__exact=%00", "route/?q=%00", "route/?host=%00",
]  # fmt: skip
PAGES = [
    "/auth/login?next=%00", "/auth/login?provider=%00", "/auth/callback/main?state=%00&code=a",
    "/auth/callback/main?code=%00",
    "/auth/signed-out?next=/a%00", "/auth/frontchannel-logout/main?iss=https://idp.example&sid=%00", "/dashboard?a=%00",
    "/auth/me?%00=1", "/admin/login/?next=%00", "/health/ready?a=%00",
]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_a_nul_in_the_query_of_a_page_is_a_bad_request(site, path):
    answer = site.get(path)
    assert (answer.status, answer.json()["error"]) == (400, "bad_request")
    assert "nosniff" in answer.header("x-content-type-options")


@pytest.mark.parametrize("query", ADMIN_QUERIES)
def test_a_nul_in_a_filter_of_the_admin_is_a_bad_request(site, cookies, query):
    assert site.get(f"/admin/authgate/{query}", headers=as_header(cookies)).status == 400


def test_a_nul_in_a_form_of_the_admin_is_a_bad_request(site, cookies):
    fields = {"csrfmiddlewaretoken": cookies["authgate_csrf"]}
    answers = [
        post(site, "/admin/authgate/revokedtoken/add/", cookies, jti="a\x00", **fields),
        post(site, "/admin/authgate/session/", cookies, action="end_selected", _selected_action="a\x00", **fields),
        post(site, "/admin/login/", cookies, username="a\x00", password="b", **fields),
    ]
    assert [answer.status for answer in answers] == [400, 400, 400]


def test_a_nul_in_a_form_of_the_dashboard_is_a_bad_request(site):
    made = make_session(site)
    answers = [
        post(site, "/auth/sessions/end", {"auth_token": made.cookie}, which="one", sid="a\x00"),
        post(site, "/auth/logout", {"auth_token": made.cookie}, anything="\x00"),
    ]
    assert [answer.status for answer in answers] == [400, 400]
    assert site.get("/api/protected", headers=made.headers).status == 200


def multipart(charset, value):
    head = b'--x\r\nContent-Disposition: form-data; name="sid"\r\n\r\n'
    return [("Content-Type", f"multipart/form-data; boundary=x; charset={charset}")], head + value + b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("charset", "value"),
    [("utf-8", b"a\x00"), ("unicode_escape", rb"\x00"), ("raw_unicode_escape", rb"\ud800"), ("utf-7", b"+2AA-")],
)
@pytest.mark.parametrize("path", ["/auth/sessions/end", "/admin/login/", "/auth/backchannel-logout/main"])
def test_no_encoding_of_a_form_brings_in_what_no_database_holds(site, path, charset, value):
    headers, body = multipart(charset, value)
    made = make_session(site)
    answer = site.request(path, method="POST", headers=[*headers, *made.headers, ("Origin", site.url)], body=body)
    assert answer.status == 400


@pytest.mark.parametrize("name", ["authgate_admin", "authgate_csrf", "messages"])
def test_a_cookie_that_spells_a_nul_is_no_cookie(site, name):
    answer = site.get("/admin/", headers=[("Cookie", f'{name}="\\000{"a" * 32}"')])
    assert (answer.status, answer.header("location")) == (302, "/admin/login/?next=/admin/")


def test_the_logout_that_a_provider_posts_is_still_read(site):
    answer = site.request(
        "/auth/backchannel-logout/main", method="POST", headers=FORM, body=b"logout_token=a.b.c&other=1"
    )
    assert (answer.status, b"not accepted" in answer.body) == (400, True)


def test_nothing_of_all_this_is_taken_for_a_database_that_is_busy(site):
    assert "busy or away" not in site.output
    assert "Traceback" not in site.output


@pytest.mark.parametrize(
    ("text", "is_good"), [("a", 1), ("ü🙂", 1), ("", 1), ("a\x00", 0), ("\ud800", 0), ("\udc80", 0)]
)
def test_what_a_database_can_hold(text, is_good):
    assert is_storable(text) == is_good


def test_whatever_else_a_database_refuses_to_hold_is_a_bad_request(rf):
    middleware = StorableTextMiddleware(lambda request: None)
    answer = middleware.process_exception(rf.get("/admin/"), DataError("out of range"))
    assert (answer.status_code, json.loads(answer.content)["error"]) == (400, "bad_request")
    assert middleware.process_exception(rf.get("/admin/"), ValueError()) is None
