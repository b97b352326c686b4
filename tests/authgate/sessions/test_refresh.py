from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.gateway import Gateway
from tests.support.hostile import Reply
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, new_cookie, row, run
from tests.support.token_provider import TokenProvider

UNSEAL = """
from authgate.sealing import unseal_text
sealed = Session.objects.get(sid=options["sid"]).sealed_refresh_token
print(unseal_text(sealed, purpose="refresh token", place=options["sid"]))
"""


@pytest.fixture(scope="module")
def sessions_gateway(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("refresh") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as started:
        yield started.start()


@pytest.fixture
def site(sessions_gateway, upstream):
    return sessions_gateway


@pytest.fixture
def idp():
    with TokenProvider() as started:
        yield started


@pytest.fixture
def due(site, idp, request):
    """An expired cookie, unless told otherwise, of a session whose provider is to be asked again."""

    def make(**options):
        provider = {"issuer": idp.issuer, "require_verified_email": False}
        slug = request.node.name.replace("_", "-")[:40].strip("-")
        subject = options.pop("subject", "alice")
        claims = {"iss": idp.issuer, "sub": subject, **options.pop("claims", {})}
        return make_session(
            options.pop("gateway", site), subject, slug=slug, cookie_age=options.pop("cookie_age", 400),
            refresh_token="first", provider=provider, claims=claims, **options,
        )  # fmt: skip

    return make


def answers_with(idp, **changes):
    def answer(form):
        document = {
            "access_token": "a",
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": "second",
            **changes,
        }
        return 200, {name: value for name, value in document.items() if value is not ...}

    idp.token_answer = answer


def open_admin(site, made):
    return site.get("/api/admin", headers=made.headers)


def open_protected(gateway, made):
    return gateway.get("/api/protected", headers=made.headers)


def test_a_due_session_is_refreshed_at_its_provider_and_roles_follow(site, idp, due):
    made = due(claims={"groups": ["nobody"]})
    answers_with(idp, id_token=idp.id_token(groups=["platform-admins"], email="new@example.com"))
    answer = open_admin(site, made)
    assert (answer.status, [form["refresh_token"] for form in idp.forms]) == (200, ["first"])
    after = row(site, made.sid)
    assert (after["claims"]["groups"], after["email"]) == (["platform-admins"], "new@example.com")
    assert 850 < after["refresh_in"] <= 900


def test_a_role_that_the_provider_has_taken_away_is_gone(site, idp, due):
    made = due(claims={"groups": ["platform-admins"]})
    answers_with(idp, id_token=idp.id_token())
    assert open_admin(site, made).json()["reason"] == "missing_role"


def test_a_rotated_refresh_token_is_kept(site, idp, due):
    made = due()
    answers_with(idp, id_token=idp.id_token())
    open_admin(site, made)
    assert run(site, UNSEAL, sid=made.sid).strip() == "second"


def test_a_refresh_token_that_is_not_rotated_stays(site, idp, due):
    made = due()
    answers_with(idp, id_token=idp.id_token(), refresh_token=...)
    open_admin(site, made)
    assert run(site, UNSEAL, sid=made.sid).strip() == "first"


def test_a_provider_that_says_nothing_new_leaves_who_it_is(site, idp, due):
    made = due(claims={"groups": ["platform-admins"]})
    answers_with(idp, id_token=...)
    assert open_admin(site, made).status == 200


def tells_userinfo(idp, **claims):
    idp.metadata["userinfo_endpoint"] = f"{idp.url}/userinfo"
    idp.userinfo = claims


SEAL_ID_TOKEN = """
sealed = seal_text(options["id_token"], purpose="id token", place=options["sid"])
Session.objects.filter(sid=options["sid"]).update(sealed_id_token=sealed)
"""


def test_without_a_new_id_token_what_the_last_one_said_still_holds(site, idp, due):
    tells_userinfo(idp)
    made = due(claims={"email": "alice@example.com"})
    run(site, "IdentityProvider.objects.filter(issuer=options['issuer']).update(require_verified_email=True)",
        issuer=idp.issuer)  # fmt: skip
    said = idp.id_token(email="alice@example.com", email_verified=True, groups=["platform-admins"])
    run(site, SEAL_ID_TOKEN, sid=made.sid, id_token=said)
    answers_with(idp, id_token=...)
    assert open_admin(site, made).status == 200
    assert row(site, made.sid)["email"] == "alice@example.com"


def test_without_a_new_id_token_what_userinfo_no_longer_says_is_gone(site, idp, due):
    tells_userinfo(idp, groups=["platform-admins"])
    made = due(claims={"groups": ["platform-admins"]})
    run(site, SEAL_ID_TOKEN, sid=made.sid, id_token=idp.id_token())
    tells_userinfo(idp)
    answers_with(idp, id_token=...)
    assert open_admin(site, made).json()["reason"] == "missing_role"


def answers_userinfo(idp, status, **claims):
    tells_userinfo(idp)
    idp.answers["/userinfo"] = lambda seen: Reply(status, claims)


@pytest.mark.parametrize("answer", [(401, {}), (200, {"sub": "mallory"})], ids=["401", "about somebody else"])
@pytest.mark.parametrize("with_id_token", [True, False])
def test_a_definite_no_of_userinfo_ends_the_session(site, idp, due, answer, with_id_token):
    made = due()
    answers_userinfo(idp, answer[0], **answer[1])
    answers_with(idp, id_token=idp.id_token() if with_id_token else ...)
    assert open_protected(site, made).status == 401
    after = row(site, made.sid)
    assert (after["ended"], after["reason"], after["revoked"]) == (True, "refused: userinfo_failed", True)


@pytest.mark.parametrize(
    "answer", [(500, {}), (403, {}), (404, {}), (200, {"error": "busy"})], ids=["500", "403", "404", "about nobody"]
)
def test_a_userinfo_that_fails_ends_nothing(site, idp, due, answer):
    made = due()
    answers_userinfo(idp, answer[0], **answer[1])
    answers_with(idp, id_token=idp.id_token())
    assert open_protected(site, made).status == 200
    after = row(site, made.sid)
    assert (after["ended"], 40 < after["refresh_in"] <= 60) == (False, True)


def test_an_id_token_that_is_refused_is_not_kept(site, idp, due):
    made = due()
    answers_with(idp, id_token=idp.id_token(sub="mallory", groups=["platform-admins"]))
    assert open_admin(site, made).status == 401
    assert row(site, made.sid)["sealed"] == ["", ""]


def test_what_the_provider_calls_over_is_over(site, idp, due):
    made = due()
    idp.token_answer = lambda form: (400, {"error": "invalid_grant"})
    answer = open_admin(site, made)
    assert (answer.status, new_cookie(answer)) == (401, None)
    after = row(site, made.sid)
    assert (after["ended"], after["reason"], after["revoked"]) == (True, "ended by the provider", True)


WRONG = {
    "other person": {"sub": "mallory"},
    "other issuer": {"iss": "https://other.example"},
    "other audience": {"aud": "other"},
    "expired": {"exp": int(time.time()) - 3600},
    "other nonce": {"nonce": "other"},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_refreshed_id_token_that_is_wrong_ends_the_session(site, idp, due, changes):
    made = due(claims={"nonce": "mine"})
    answers_with(idp, id_token=idp.id_token(**changes))
    assert open_admin(site, made).status == 401
    assert row(site, made.sid)["reason"] == "refused: invalid_id_token"


FAILING = {
    "error": lambda form: (503, {"error": "temporarily_unavailable"}),
    "nonsense": lambda form: (200, {"unexpected": True}),
    "configuration": lambda form: (401, {"error": "invalid_client"}),
}


@pytest.mark.parametrize("answer", FAILING.values(), ids=FAILING)
def test_a_provider_that_fails_ends_nothing_and_is_asked_again_in_a_minute(site, idp, due, answer):
    made = due(claims={"groups": ["platform-admins"]})
    idp.token_answer = answer
    assert open_admin(site, made).status == 200
    after = row(site, made.sid)
    assert (after["ended"], 40 < after["refresh_in"] <= 60) == (False, True)


def test_a_provider_that_is_gone_ends_nothing(site, idp, due):
    made = due(claims={"groups": ["platform-admins"]})
    run(site, "IdentityProvider.objects.update(issuer='http://127.0.0.1:1')")
    assert open_admin(site, made).status == 200


def test_a_provider_that_hangs_holds_nobody_for_long(site, idp, due):
    made = due(claims={"groups": ["platform-admins"]})
    idp.delay = 14
    began = time.monotonic()
    assert open_admin(site, made).status == 200
    assert time.monotonic() - began < 9


def test_while_the_cookie_lives_nobody_waits_for_the_provider(site, idp, due):
    made = due(cookie_age=250)
    idp.delay = 3
    answers_with(idp, id_token=idp.id_token())
    began = time.monotonic()
    answer = open_protected(site, made)
    assert (answer.status, new_cookie(answer), time.monotonic() - began < 1.5) == (200, None, True)
    time.sleep(3.5)
    assert new_cookie(open_protected(site, made)) is not None
    assert len(idp.forms) == 1


def test_of_many_whose_provider_hangs_the_first_alone_waits_for_it(start_gateway, idp, due):
    gateway = start_gateway()
    first, *others = [due(gateway=gateway, subject=f"person{number}") for number in range(4)]
    idp.delay = 12
    assert open_protected(gateway, first).status == 200
    began = time.monotonic()
    assert [open_protected(gateway, made).status for made in others] == [200] * 3
    assert time.monotonic() - began < 3


def tabs(gateway, made, count=24):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: gateway.get("/api/protected", headers=made.headers), range(count)))


def test_many_tabs_ask_the_provider_once_over_all_workers(site, idp, due):
    made = due()
    answers_with(idp, id_token=idp.id_token())
    idp.delay = 0.5
    assert {answer.status for answer in tabs(site, made)} == {200}
    assert len(idp.forms) == 1
    assert not row(site, made.sid)["ended"]


def test_on_postgresql_too_the_provider_is_asked_once(start_gateway, on_postgresql, idp, due):
    gateway = start_gateway(workers=2, **on_postgresql())
    made = due(gateway=gateway)
    answers_with(idp, id_token=idp.id_token())
    idp.delay = 0.5
    assert {answer.status for answer in tabs(gateway, made)} == {200}
    assert len(idp.forms) == 1
    assert not row(gateway, made.sid)["ended"]
    run(gateway, "assert store.end(options['sid'], 'signed out')", sid=made.sid)
    assert row(gateway, made.sid)["revoked"]
