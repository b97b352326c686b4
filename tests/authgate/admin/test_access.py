from __future__ import annotations

import json

import pytest

from authgate.models.policy import Role
from authgate.policy import revisions
from authgate.policy.compiler import compile_rows
from authgate.policy.document import PolicyInvalid, parse_yaml, to_json, to_yaml
from authgate.policy.powers import Machine
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy

POLICY = demo_policy("http://127.0.0.1:9").replace("  user: {}", "  user: {}\n  helper: {admin: staff}\n").replace(
    'admin: {description: "May use the admin endpoints"}', "admin: {admin: superuser}"
).replace("grants:", "grants:\n  - {role: helper, when: {claim: groups, contains: helpers}}")  # fmt: skip
NO_ADMIN = POLICY.replace("{admin: superuser}", "{}")

# Run in the gateway's own environment: a session as sign-in makes it, and a cookie of the kind named.
SIGN_IN = """
import json, sys, time
from datetime import timedelta
from django.utils import timezone
from authgate.authn.compact import write_object
from authgate.authn.tokens import Kind, sign_payload
from authgate.state.trust import load_trust
from authgate.models.people import IdentityProvider, Person, Session
sid, subject, kind, claims = json.loads('''{arguments}''')
provider, _ = IdentityProvider.objects.get_or_create(slug="idp", defaults={{
    "issuer": "https://idp.example.com", "require_verified_email": False,
}})
person, _ = Person.objects.get_or_create(provider=provider, provider_subject=subject)
now = timezone.now()
Session.objects.create(
    sid=sid, person=person, created_at=now, last_seen_at=now, expires_at=now + timedelta(hours=1), claims=claims
)
trust, at = load_trust(), int(time.time())
payload = {{
    "iss": trust.issuer, "aud": trust.audience, "sub": person.subject, "iat": at, "exp": at + 300, "jti": sid,
    "sid": sid, "roles": [], "email": f"{{subject}}@example.com", "name": subject.title(), **claims,
}}
sys.stdout.write(sign_payload(write_object(payload), trust.token_signer, Kind[kind]))
"""


def shell(gateway: Gateway, code: str) -> str:
    return gateway.shell.run(code).strip()


def cookie_of(gateway: Gateway, sid: str, subject: str = "alice", kind: str = "SESSION", **claims: object) -> str:
    arguments = json.dumps([sid, subject, kind, claims])
    return shell(gateway, SIGN_IN.format(arguments=arguments))


def open_admin(gateway: Gateway, cookie: str, path: str = "/admin/") -> int:
    return gateway.get(path, headers=[("cookie", f"auth_token={cookie}")]).status


def stored(gateway: Gateway, username: str) -> str:
    names = "'is_staff', 'is_superuser', 'email', 'password'"
    query = f"User.objects.filter(username={username!r}).values_list({names})"
    return shell(gateway, f"from django.contrib.auth.models import User; print(list({query}))")


@pytest.fixture(scope="module")
def admin_gateway(gateway_template, tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("admin") / "data", template=gateway_template, policy=POLICY) as gateway:
        yield gateway.start()


def test_a_session_with_a_superuser_role_opens_every_page_and_stores_no_power(admin_gateway):
    cookie = cookie_of(admin_gateway, "s1", groups=["platform-admins"])
    assert open_admin(admin_gateway, cookie, "/admin/authgate/route/") == 200
    row = stored(admin_gateway, "sso:idp|alice")
    assert row.startswith("[(False, False, 'alice@example.com', '!")


def test_signing_out_of_admin_ends_the_session_of_the_person(admin_gateway):
    cookie = cookie_of(admin_gateway, "s0", groups=["platform-admins"])
    page = admin_gateway.get("/admin/", headers=[("cookie", f"auth_token={cookie}")]).body.decode()
    assert '<form id="logout-form" method="post" action="/auth/logout">' in page


def test_a_staff_role_opens_the_door_and_no_page_nobody_gave_permission_for(admin_gateway):
    cookie = cookie_of(admin_gateway, "s2", "bob", groups=["helpers"])
    statuses = [open_admin(admin_gateway, cookie, path) for path in ("/admin/", "/admin/authgate/route/")]
    assert statuses == [200, 403]


def test_a_session_without_such_a_role_is_sent_to_the_sign_in_form(admin_gateway):
    assert open_admin(admin_gateway, cookie_of(admin_gateway, "s3", "carol")) == 302


def test_a_bearer_token_never_opens_admin(admin_gateway):
    token = admin_gateway.mint("idp|alice", roles=("admin",), fresh=True)
    assert admin_gateway.get("/admin/", token=token).status == 302


def test_an_access_token_in_the_cookie_never_opens_admin(admin_gateway):
    assert open_admin(admin_gateway, admin_gateway.mint("idp|alice", roles=("admin",), fresh=True)) == 302


def test_a_session_cookie_as_a_bearer_token_never_opens_admin(admin_gateway):
    cookie = cookie_of(admin_gateway, "s4", groups=["platform-admins"])
    assert admin_gateway.get("/admin/", token=cookie).status == 302


def test_a_session_that_has_ended_opens_admin_no_more(admin_gateway):
    cookie = cookie_of(admin_gateway, "s5", groups=["platform-admins"])
    before = open_admin(admin_gateway, cookie)
    shell(admin_gateway, "from authgate.sessions import store; store.end('s5', 'test')")
    assert (before, open_admin(admin_gateway, cookie)) == (200, 302)


def test_a_cookie_whose_session_belongs_to_somebody_else_opens_nothing(admin_gateway):
    cookie = cookie_of(admin_gateway, "s6", "dave", groups=["platform-admins"], sub="idp|alice")
    assert open_admin(admin_gateway, cookie) == 302


def test_a_deactivated_account_of_theirs_stays_out(admin_gateway):
    cookie = cookie_of(admin_gateway, "s7", "erin", groups=["platform-admins"])
    before = open_admin(admin_gateway, cookie)
    code = "from django.contrib.auth.models import User; User.objects.filter(username='sso:idp|erin').update("
    shell(admin_gateway, f"{code}is_active=False)")
    assert (before, open_admin(admin_gateway, cookie)) == (200, 302)


def test_a_post_without_the_csrf_token_is_refused(admin_gateway):
    cookie = cookie_of(admin_gateway, "s8", groups=["platform-admins"])
    headers = [("cookie", f"auth_token={cookie}"), ("content-type", "application/x-www-form-urlencoded")]
    answer = admin_gateway.request("/admin/authgate/role/add/", method="POST", headers=headers, body=b"name=x")
    assert answer.status == 403


def test_the_sign_in_page_leads_to_the_identity_provider(admin_gateway):
    cookie_of(admin_gateway, "s9")
    page = admin_gateway.get("/admin/login/?next=/admin/authgate/role/").body.decode()
    assert 'href="/auth/login?next=/admin/authgate/role/"' in page


def test_losing_the_role_closes_admin_at_once(start_gateway):
    gateway = start_gateway(policy=POLICY)
    cookie = cookie_of(gateway, "s1", groups=["platform-admins"])
    before = open_admin(gateway, cookie)
    gateway.import_policy(NO_ADMIN)
    assert (before, open_admin(gateway, cookie)) == (200, 302)


@pytest.mark.django_db
def test_whatever_is_saved_of_such_an_account_stores_no_power_and_no_password(django_user_model):
    user = django_user_model.objects.create_superuser("sso:idp|alice", password="a password of theirs")
    user.refresh_from_db()
    assert (user.is_staff, user.is_superuser, user.has_usable_password()) == (False, False, False)


@pytest.mark.django_db
def test_the_local_account_that_signed_in_wins(client, admin_user):
    client.force_login(admin_user)
    assert client.get("/admin/").wsgi_request.user.get_username() == "admin"


@pytest.mark.django_db
def test_a_django_session_of_such_an_account_is_nobody(client, django_user_model):
    client.force_login(django_user_model.objects.create(username="sso:idp|alice"))
    assert client.get("/admin/").status_code == 302


@pytest.mark.django_db
def test_the_policy_says_which_role_opens_admin_and_rows_give_it_back():
    document = parse_yaml(POLICY)
    revisions.replace(document, Machine("tests"))
    assert compile_rows() == document
    assert dict(Role.objects.values_list("name", "admin")) == {"admin": "superuser", "helper": "staff", "user": "none"}


def test_a_role_that_opens_nothing_is_written_as_before():
    document = parse_yaml("version: 1\nroles: {user: {admin: none}}\n")
    assert ("user: {}" in to_yaml(document), "admin" in to_json(document)) == (True, False)


def test_another_word_for_admin_is_an_error_at_its_place():
    with pytest.raises(PolicyInvalid) as caught:
        parse_yaml("version: 1\nroles: {user: {admin: root}}\n")
    assert [str(error) for error in caught.value.errors] == [
        "roles.user.admin: must be one of none, api, staff, superuser, not 'root'"
    ]
