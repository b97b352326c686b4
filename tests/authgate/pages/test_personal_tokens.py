"""Personal tokens on the dashboard of a running gateway."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from authgate.authn.service_tokens import has_checksum
from tests.support.browser import chromium, expect
from tests.support.gateway import Gateway
from tests.support.sessions import make_session, run

POLICY = """\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
roles: {{user: {{}}, staff: {{}}, boss: {{admin: superuser}}}}
grants:
  - {{role: user, when: {{authenticated: true}}}}
  - {{role: staff, when: {{claim: groups, contains: staff}}}}
  - {{role: boss, when: {{claim: groups, contains: bosses}}}}
routes:
  - {{name: any, path: /any, access: authenticated, upstream: api}}
  - {{name: git, path: /git, access: roles, roles: [staff], basic: true, upstream: api}}
  - {{name: wiki, path: /wiki, access: roles, roles: [user], upstream: api}}
  - {{name: shop, path: /shop, host: shop.example.com, access: authenticated, upstream: api}}
"""
PAGE = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
FORM = [("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/x-www-form-urlencoded")]
STAFF = {"groups": ["staff"], "email": "a@example.com"}
PROVIDER = {"name": "Main", "issuer": "http://127.0.0.1:9", "logout": "local", "require_verified_email": False}


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("personal-tokens") / "data"
    policy = POLICY.format(target=session_upstream.target)
    env = {"AUTHGATE_PERSONAL_TOKEN_DAYS": "30", "AUTHGATE_SIGN_IN_RATE": "1000/s"}
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2, env=env) as gateway:
        yield gateway.start()


def sign_in(gateway, subject, claims=None, **options):
    return make_session(gateway, subject, provider=PROVIDER, claims=STAFF if claims is None else claims, **options)


def post(gateway, path, made, headers=(), **fields):
    body = urlencode(fields, doseq=True).encode()
    return gateway.request(path, method="POST", headers=[*PAGE, *FORM, *made.headers, *headers], body=body)


def make(gateway, made, **fields):
    return post(gateway, "/dashboard/tokens", made, **{"name": "laptop", "days": "30", **fields})


def token_of(page) -> str:
    token = re.search(r'<code id="token">([^<]+)</code>', page.text)[1]
    assert has_checksum(token.encode())
    return token


def answers(gateway, token, path):
    seen = [gateway.get(path, token=token) for _ in range(8)]
    return {(answer.status, answer.json()["reason"] if answer.status >= 400 else "") for answer in seen}


def test_a_token_is_shown_once_and_stands_for_its_person(gateway, upstream):
    made = sign_in(gateway, "alice")
    page = make(gateway, made, roles=["staff"])
    assert page.header("cache-control") == "no-store"
    token = token_of(page)
    assert answers(gateway, token, "/git") == {(200, "")}
    assert upstream.requests[-1].header("X-Auth-User-ID") == "idp|alice"
    me = gateway.get("/auth/me", token=token).json()
    assert (me["subject"], me["credential"], me["roles"]) == ("idp|alice", "personal_token", ["staff"])
    dashboard = gateway.get("/dashboard", headers=[*PAGE, *made.headers]).text
    assert "laptop" in dashboard
    assert token not in dashboard


def test_it_has_the_chosen_roles_and_routes_alone(gateway):
    token = token_of(make(gateway, sign_in(gateway, "chooser"), roles=["user"], routes=["any", "git"]))
    assert answers(gateway, token, "/any") == {(200, "")}
    assert answers(gateway, token, "/git") == {(403, "missing_role")}
    assert answers(gateway, token, "/wiki") == {(403, "route_not_allowed")}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"roles": ["boss"]}, "you do not have boss"),
        ({"days": "31"}, "must be more than 0 and at most 30 days"),
        ({"days": "0"}, "must be more than 0 and at most 30 days"),
        ({"days": "-1"}, "must be a whole number of days"),
        ({"name": ""}, "This field cannot be blank."),
        ({"name": "a\nb"}, "no control characters"),
        ({"name": "x" * 61}, "at most 60 characters"),
        ({"routes": ["nowhere"]}, "one of these is no route any more"),
    ],
)
def test_what_is_not_allowed_is_said_beside_the_field(gateway, fields, words):
    page = make(gateway, sign_in(gateway, "wisher"), **fields)
    assert page.status == 400
    assert words.lower() in page.text.lower()
    assert 'id="token"' not in page.text


def test_a_name_is_used_once_at_a_time(gateway):
    made = sign_in(gateway, "twice")
    token_of(make(gateway, made))
    assert make(gateway, made).status == 400
    token_of(make(gateway, sign_in(gateway, "somebody-else")))


def test_it_loses_a_role_with_its_person(gateway):
    made = sign_in(gateway, "loser")
    token = token_of(make(gateway, made, roles=["staff"]))
    assert answers(gateway, token, "/git") == {(200, "")}
    tell(gateway, "loser", "{'groups': []}")
    assert answers(gateway, token, "/git") == {(403, "missing_role")}
    tell(gateway, "loser", "{'groups': ['staff']}")
    assert answers(gateway, token, "/git") == {(200, "")}


def tell(gateway, subject, claims):
    """As a refresh or a sign-in would, in any browser."""
    run(
        gateway,
        "from authgate.oidc.claims import ProvenPerson; from django.db import transaction\n"
        f"person = Person.objects.select_related('provider').get(provider_subject={subject!r})\n"
        f"proven = ProvenPerson(subject={subject!r}, email='', name='', claims={claims})\n"
        "with transaction.atomic(): store.describe(person, proven)",
    )


ENDS = {
    "deactivated": "from authgate.sessions import activation; activation.deactivate(person, machine)",
    "deleted": "from authgate.sessions import deletion; deletion.delete(Person.objects.filter(pk=person.pk), machine)",
    "ended": "from authgate.state import service_tokens; service_tokens.end(person.tokens.all(), machine)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_it_ends_with_its_person(gateway, end):
    subject = f"gone-{abs(hash(end))}"
    token = token_of(make(gateway, sign_in(gateway, subject)))
    assert answers(gateway, token, "/any") == {(200, "")}
    run(
        gateway,
        "from authgate.policy.powers import Machine; machine = Machine('test')\n"
        f"person = Person.objects.get(provider_subject={subject!r}); {end}",
    )
    assert {status for status, _ in answers(gateway, token, "/any")} == {401}


def test_it_ends_with_its_provider_and_does_not_come_back(gateway):
    made = sign_in(gateway, "theirs", slug="other")
    token = token_of(make(gateway, made))
    save = (
        "from authgate.policy.powers import Machine; from authgate.sessions import registration\n"
        "provider = IdentityProvider.objects.get(slug='other'); provider.enabled = {}\n"
        "registration.save(provider, Machine('test'))"
    )
    run(gateway, save.format(False))
    assert answers(gateway, token, "/any") == {(401, "token_revoked")}
    run(gateway, save.format(True))
    assert answers(gateway, token, "/any") == {(401, "token_revoked")}


def test_stricter_rules_of_the_provider_count_for_it_too(gateway):
    token = token_of(make(gateway, sign_in(gateway, "outsider", slug="strict")))
    change = "provider = IdentityProvider.objects.get(slug='strict'); provider.allowed_domains = {}; provider.save()"
    run(gateway, change.format(["corp.example"]))
    assert answers(gateway, token, "/any") == {(401, "token_revoked")}
    run(gateway, change.format([]))
    assert answers(gateway, token, "/any") == {(200, "")}


def test_only_a_live_session_of_the_same_person_makes_and_ends_one(gateway):
    made, other = sign_in(gateway, "maker"), sign_in(gateway, "stranger")
    token = token_of(make(gateway, made))
    number = gateway.get("/auth/me", token=token).json()["token_id"].removeprefix("svc:")
    assert post(gateway, "/dashboard/tokens/end", other, token=number).status == 303
    assert answers(gateway, token, "/any") == {(200, "")}
    for path in ("/dashboard/tokens", "/dashboard/tokens/end"):
        bearer = [("Authorization", f"Bearer {token}"), ("Accept", "application/json")]
        body = urlencode({"name": "x", "days": "1", "token": number}).encode()
        assert gateway.request(path, method="POST", headers=[*FORM, *bearer], body=body).status == 401
    assert post(gateway, "/dashboard/tokens/end", made, token=number).status == 303
    assert answers(gateway, token, "/any") == {(401, "token_revoked")}


def test_a_token_opens_no_admin_whatever_its_role(gateway):
    made = sign_in(gateway, "boss", {"groups": ["bosses"]}, cookie_age=400)
    token = token_of(make(gateway, made, roles=["boss"]))
    assert gateway.get("/auth/me", token=token).json()["roles"] == ["boss"]
    assert gateway.get("/admin/", headers=made.headers).status == 200
    assert gateway.get("/admin/", token=token).status == 302


@pytest.mark.parametrize(
    "headers",
    [
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Dest", "empty")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Dest", "iframe")],
        [("Origin", "https://evil.example")],
    ],
)
def test_no_other_site_and_no_script_makes_one(gateway, headers):
    made = sign_in(gateway, "victim")
    form = ("Content-Type", "application/x-www-form-urlencoded")
    body = urlencode({"name": "stolen", "days": "1"}).encode()
    answer = gateway.request(
        "/dashboard/tokens", method="POST", headers=[*headers, form, *made.headers, ("Accept", "*/*")], body=body
    )
    assert answer.json()["reason"] == "cross_site"


def test_on_the_host_of_a_service_there_is_no_such_page(gateway, upstream):
    made = sign_in(gateway, "elsewhere")
    answer = gateway.request("/dashboard/tokens", headers=made.headers, host="shop.example.com")
    assert answer.json()["reason"] == "no_route"


def test_more_than_fifty_are_refused(gateway):
    made = sign_in(gateway, "hoarder")
    token_of(make(gateway, made))
    run(
        gateway,
        "from authgate.models.service_tokens import ServiceToken\n"
        "person = Person.objects.get(provider_subject='hoarder')\n"
        "ServiceToken.objects.bulk_create([ServiceToken(person=person, name=f't{n}', digest=f'{n:064x}',"
        " expires_at=ago(-3600)) for n in range(49)])",
    )
    page = make(gateway, made, name="one more")
    assert (page.status, "You have 50 tokens" in page.text) == (400, True)
    # Expired ones are not on the dashboard, so that nobody could end them.
    run(
        gateway,
        "from authgate.models.service_tokens import ServiceToken\n"
        "ServiceToken.objects.filter(person__provider_subject='hoarder').update(expires_at=ago(60))",
    )
    assert make(gateway, made, name="one more").status == 201


def test_a_person_makes_uses_and_ends_a_token_in_a_browser(gateway):
    made = sign_in(gateway, "clicker", cookie_age=400)  # renewed with the claims of its session
    with chromium() as browser:
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        context.add_cookies([{"name": "auth_token", "value": made.cookie, "url": gateway.url}])
        page = context.new_page()
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(f"{gateway.url}/dashboard")
        page.get_by_role("link", name="New token").click()
        page.get_by_label("Name").fill("laptop, git")
        page.get_by_label("staff").check()
        page.get_by_role("button", name="Make token").click()
        token = page.locator("#token").inner_text()
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == token
        assert answers(gateway, token, "/git") == {(200, "")}
        page.get_by_role("link", name="I have copied it").click()
        expect(page.get_by_text("laptop, git")).to_be_visible()
        page.get_by_role("button", name="End token: laptop, git").click()
        expect(page.get_by_text("laptop, git")).not_to_be_visible()
        assert answers(gateway, token, "/git") == {(401, "token_revoked")}
        assert faults == []
