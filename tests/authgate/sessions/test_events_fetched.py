"""Security events that are fetched: what is done with them, what the transmitter is told, and what goes wrong."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone

from authgate.checks.database import check_event_polls
from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider, Session
from authgate.models.polling import EventPoll
from authgate.models.trust import Revocation
from authgate.oidc import event_endpoint
from authgate.oidc.diagnose import diagnose
from authgate.sessions import polling, receiving, store
from authgate.sessions.polling import MOST_ANSWERS, MOST_EVENTS, POLL_SECONDS, find_due, take_turn
from authgate.sessions.purge import purge
from authgate.sessions.reseal import COLUMNS
from authgate.state.issuer_keys import issuer_keys
from tests.authgate.sessions.test_signals import KEEP_OUT, SIGN_OUT, active, alive, signed_in
from tests.support.admin import form_values, sign_in
from tests.support.hostile import JWKS, Reply
from tests.support.issuers import API
from tests.support.token_provider import CLIENT_ID
from tests.support.transmitter import POLL_TOKEN, Transmitter

pytestmark = pytest.mark.django_db
REVOKED = "caep session-revoked"


@pytest.fixture
def idp():
    with Transmitter() as started:
        yield started
    issuer_keys.keep_only(set())


@pytest.fixture
def provider(idp):
    made = IdentityProvider(
        slug="idp", name="IdP", client_id=CLIENT_ID, issuer=idp.issuer, poll_endpoint=idp.endpoint
    )  # fmt: skip
    event_endpoint.set_token(made, POLL_TOKEN)
    made.full_clean()
    made.save()
    return made


def turn(slug="idp"):
    EventPoll.objects.update(next_at=timezone.now())
    take_turn(slug, threading.Event())
    return EventPoll.objects.get(slug=slug)


@pytest.mark.parametrize("name", SIGN_OUT + KEEP_OUT)
def test_an_event_does_what_it_does_when_it_is_pushed(idp, provider, name):
    signed_in(provider), signed_in(provider, "bob", "s-2")
    names = idp.offer(idp.event(name))
    turn()
    assert alive() == {"idp|bob s-2"}
    assert active() == ({"idp|bob"} if name in KEEP_OUT else {"idp|alice", "idp|bob"})
    assert (idp.acked, idp.refused, idp.waiting) == (names, {}, {})


def test_changed_claims_are_asked_for_again(idp, provider):
    signed_in(provider)
    idp.offer(idp.event("caep token-claims-change"))
    turn()
    assert alive() == set()


def test_an_issuer_is_asked_as_well(idp):
    TokenIssuer.objects.create(slug="ci", issuer=idp.issuer, audiences=[API], poll_endpoint=idp.endpoint)
    idp.offer(idp.event(REVOKED, "robot", aud=API))
    turn("ci")
    assert [row.subject for row in Revocation.objects.all()] == ["ci|robot"]
    assert idp.polls[0]["authorization"] is None


def test_it_is_asked_with_its_token_and_within_bounds(idp, provider):
    turn()
    (asked,) = idp.polls
    assert asked == {
        "maxEvents": MOST_EVENTS, "returnImmediately": True, "ack": [], "setErrs": {},
        "authorization": f"Bearer {POLL_TOKEN}",
    }  # fmt: skip


REFUSED = {
    "other audience": ({"aud": "other"}, "invalid_audience"),
    "other issuer": ({"iss": "https://other.example"}, "invalid_issuer"),
    "an ID token's type": ({"header": {"typ": "JWT"}}, "invalid_request"),
    "no algorithm": ({"header": {"alg": "none"}}, "invalid_key"),
    "another algorithm": ({"header": {"alg": "ES256"}}, "invalid_key"),
    "too old": ({"iat": 1}, "invalid_request"),
}


@pytest.mark.parametrize(("changes", "err"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_so_and_keeps_nothing_else_up(idp, provider, changes, err):
    signed_in(provider), signed_in(provider, "bob", "s-2")
    bad, good = idp.offer(idp.event(REVOKED, "bob", **changes), idp.event(REVOKED))
    turn()
    assert alive() == {"idp|bob s-2"}
    assert (idp.acked, {name: told["err"] for name, told in idp.refused.items()}) == ([good], {bad: err})
    assert idp.refused[bad]["description"]


def test_an_event_that_comes_again_is_acknowledged_to_no_effect(idp, provider):
    token = idp.event(REVOKED)
    idp.offer(token)
    turn()
    signed_in(provider)
    (again,) = idp.offer(token)
    turn()
    assert alive() == {"idp|alice s-1"}
    assert again in idp.acked


def test_many_come_in_several_answers(idp, provider):
    names = idp.offer(*(idp.event(REVOKED, f"person-{number}") for number in range(MOST_EVENTS + 3)))
    turn()
    assert sorted(idp.acked) == sorted(names)
    assert [len(asked["ack"]) for asked in idp.polls] == [0, MOST_EVENTS, 3]


def test_a_transmitter_that_forgets_what_was_acknowledged_is_asked_a_bounded_number_of_times(idp, provider):
    idp.forgets_acks = True
    idp.offer(idp.event(REVOKED))
    turn()
    assert len(idp.polls) == MOST_ANSWERS + 1
    assert idp.polls[-1]["maxEvents"] == 0


def test_of_an_answer_with_more_than_was_asked_for_the_rest_comes_again(idp, provider, monkeypatch):
    monkeypatch.setattr(polling, "MOST_EVENTS", 2)
    tokens = idp.offer(*(idp.event(REVOKED, f"person-{number}") for number in range(3)))
    idp.body = b'{"sets": {"a": "x", "b": "x", "c": "x"}}'
    turn()
    assert tokens
    assert set(idp.refused) == {"a", "b"}


BAD_ANSWERS = {
    "too large": (b'{"sets": {"a": "' + b"x" * 1_100_000 + b'"}}', "more than"),
    "no JSON": (b"<html>", "did not answer with JSON"),
    "a list": (b"[]", "JSON object"),
    "sets a list": (b'{"sets": []}', "no object of tokens"),
    "a token an object": (b'{"sets": {"a": {}}}', "no object of tokens"),
    "deep": (b'{"sets": ' + b"[" * 1000 + b"]" * 1000 + b"}", "did not answer with JSON"),
}


@pytest.mark.parametrize(("body", "says"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_answer_that_is_none_is_a_failure_in_words(idp, provider, body, says):
    idp.body = body
    assert says in turn().problem


def test_pauses_grow_while_it_is_down_and_it_is_said_once(idp, provider, caplog):
    idp.status = 503
    pauses = []
    with caplog.at_level(logging.INFO):
        for _ in range(9):
            pauses.append((turn().next_at - timezone.now()).total_seconds())
        idp.status = 200
        poll = turn()
    assert pauses == pytest.approx([10, 20, 40, 80, 160, 300, 300, 300, 300], abs=2)
    assert (poll.failures, poll.problem) == (0, "")
    assert (poll.next_at - timezone.now()).total_seconds() == pytest.approx(POLL_SECONDS, abs=2)
    said = [record.message for record in caplog.records if record.name == polling.__name__]
    assert said == [
        "events of idp are not fetched: the event polling endpoint answered with status 503",
        "events of idp are fetched again",
    ]


def test_an_event_whose_key_is_away_waits_and_those_behind_it_do_not(idp, provider):
    signed_in(provider)
    receiving.receive_event("idp", idp.event("ssf verification"))  # the keys are known
    new = idp.event(REVOKED, header={"kid": "new"})
    idp.answers[JWKS] = lambda seen: Reply(500)
    waits, good = idp.offer(new, idp.event(REVOKED))
    assert turn().problem
    assert alive() == set()
    assert (idp.acked, list(idp.waiting)) == ([good], [waits])
    assert len(idp.polls) == 2  # it is not asked for again in the same turn


def test_an_event_that_cannot_be_acted_on_comes_again(idp, provider, monkeypatch):
    signed_in(provider)
    idp.offer(idp.event(REVOKED))
    with monkeypatch.context() as patch:
        patch.setattr(store, "end_these", lambda *_: (_ for _ in ()).throw(OSError("disk")))
        assert turn().problem == "an event could not be acted on"
    assert idp.acked == []
    turn()
    assert alive() == set()
    assert len(idp.acked) == 1


def test_one_asks_at_a_time_and_another_one_when_the_first_has_died(idp, provider):
    EventPoll.objects.create(slug="idp", next_at=timezone.now() + timedelta(seconds=60))
    assert find_due() == []
    take_turn("idp", threading.Event())
    assert idp.polls == []
    EventPoll.objects.update(next_at=timezone.now())
    assert find_due() == ["idp"]
    take_turn("idp", threading.Event())
    assert len(idp.polls) == 1


def test_a_turn_is_one_workers_for_a_minute(provider):
    assert [polling._claim("idp"), polling._claim("idp"), find_due()] == [True, False, []]
    left = EventPoll.objects.get().next_at - timezone.now()
    assert left.total_seconds() == pytest.approx(polling.LEASE_SECONDS, abs=2)


def test_a_turn_without_trouble_is_not_spoken_of(idp, provider, caplog):
    with caplog.at_level(logging.INFO):
        turn(), turn()
    assert [record for record in caplog.records if record.name == polling.__name__] == []


def test_a_clock_that_was_set_back_stops_nothing(idp, provider):
    EventPoll.objects.create(slug="idp", next_at=timezone.now() + timedelta(days=1))
    assert find_due() == ["idp"]


def test_a_turn_whose_time_is_over_begins_no_further_event(idp, provider, monkeypatch):
    monkeypatch.setattr(polling, "TURN_SECONDS", 0.0)
    names = idp.offer(idp.event(REVOKED))
    turn()
    assert (list(idp.waiting), len(idp.polls)) == (names, 2)


def test_a_worker_that_stops_begins_no_further_event(idp, provider):
    signed_in(provider)
    stopping = threading.Event()
    stopping.set()
    (name,) = idp.offer(idp.event(REVOKED))
    take_turn("idp", stopping)
    assert (alive(), list(idp.waiting)) == ({"idp|alice s-1"}, [name])


@pytest.mark.parametrize("change", [{"enabled": False}, {"poll_endpoint": ""}])
def test_whoever_is_not_to_be_asked_is_not(idp, provider, change):
    IdentityProvider.objects.update(**change)
    assert find_due() == []
    take_turn("idp", threading.Event())
    assert idp.polls == []


def test_what_is_known_of_those_that_are_gone_is_forgotten():
    EventPoll.objects.create(slug="gone", next_at=timezone.now() - timedelta(days=2))
    purge()
    assert not EventPoll.objects.exists()


# --- as it is set up ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("url", ["http://idp.example/events", "https://169.254.169.254/", "ftp://x", "https://u@x/"])
@pytest.mark.parametrize("model", [IdentityProvider, TokenIssuer])
def test_an_endpoint_is_https_or_on_this_machine(model, url):
    audience = {"client_id": "c", "name": "n"} if model is IdentityProvider else {"audiences": [API]}
    row = model(slug="x", issuer="https://x.example", poll_endpoint=url, **audience)
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert set(refused.value.message_dict) == {"poll_endpoint"}


def test_a_provider_that_signs_nothing_has_none():
    row = IdentityProvider(slug="x", name="n", kind="github", client_id="c", poll_endpoint="https://x.example/")
    with pytest.raises(ValidationError, match="OpenID Connect"):
        row.full_clean()


@pytest.mark.parametrize("token", ["a b", "é", "x\r\nHost: y", "x" * 5000])
def test_a_token_that_no_header_can_hold_is_refused(provider, token):
    with pytest.raises(ValidationError):
        event_endpoint.set_token(provider, token)


def test_a_token_goes_with_its_endpoint_and_is_for_this_provider_alone(provider):
    sealed = provider.sealed_poll_token
    assert POLL_TOKEN not in sealed
    provider.slug = "other"
    with pytest.raises(event_endpoint.ProviderError):
        event_endpoint.open_token(provider)
    provider.slug, provider.poll_endpoint = "idp", ""
    provider.full_clean()
    assert provider.sealed_poll_token == ""
    with pytest.raises(ValidationError, match="endpoint"):
        event_endpoint.set_token(provider, "x")


def test_a_new_secret_key_seals_it_anew():
    assert {sealed.model for sealed in COLUMNS if sealed.column == "sealed_poll_token"} == {
        IdentityProvider, TokenIssuer,
    }  # fmt: skip


@pytest.mark.parametrize(("status", "ok"), [(200, True), (401, False)])
def test_the_test_of_a_provider_asks_it_and_takes_nothing(idp, provider, status, ok):
    (name,) = idp.offer(idp.event(REVOKED))
    idp.status = status
    (finding,) = (finding for finding in diagnose(provider) if finding.what == "events")
    assert finding.ok == ok
    assert list(idp.waiting) == [name]
    assert not Session.objects.exists()


def test_a_token_that_a_new_key_cannot_open_is_a_warning_and_a_failure(idp, provider, settings):
    before = check_event_polls(None, databases=["default"])
    settings.SECRET_KEY = "another key, with which nothing has been sealed so far"
    after = check_event_polls(None, databases=["default"])
    assert (before, [message.id for message in after]) == ([], ["authgate.W077"])
    assert "cannot be opened" in turn().problem
    assert idp.polls == []


@pytest.mark.parametrize("model", ["identityprovider", "tokenissuer"])
def test_the_admin_takes_an_endpoint_and_a_token_that_no_page_shows(client, idp, provider, model):
    if model == "tokenissuer":
        TokenIssuer.objects.create(slug="ci", issuer=idp.issuer, audiences=[API])
    root, row = sign_in(client), {"identityprovider": IdentityProvider, "tokenissuer": TokenIssuer}[model]
    url = f"/admin/authgate/{model}/{row.objects.get().pk}/change/"

    def save(**values):
        page = root.post(url, form_values(root, url) | {"_confirmed": ["provider", "issuer"]} | values, follow=True)
        return page, row.objects.get()

    page, made = save(poll_endpoint=idp.endpoint, poll_token="the token of the test", public_client="on")
    assert set(page.context["adminform"].form.errors) == {"poll_token"}
    page, made = save(poll_endpoint=idp.endpoint, poll_token="token-of-the-test", public_client="on")
    assert event_endpoint.open_token(made) == "token-of-the-test"
    page, made = save(public_client="on")
    assert event_endpoint.open_token(made) == "token-of-the-test"
    shown = page.content.decode() + root.get(url).content.decode()
    assert "token-of-the-test" not in shown
    assert made.sealed_poll_token not in shown
    _, made = save(poll_endpoint="", public_client="on")
    assert (made.poll_endpoint, made.sealed_poll_token) == ("", "")


@pytest.mark.parametrize(
    "add", ["provider add x --client-id c --public-client", "issuer add x --audience https://api.example.com"]
)
def test_commands_take_an_endpoint_and_a_token_in_a_file(idp, tmp_path, add):
    (tmp_path / "token").write_text(f"{POLL_TOKEN}\n")
    polled = ("--issuer", idp.issuer, "--poll-token-file", str(tmp_path / "token"))
    with pytest.raises(CommandError, match=r"^--poll-token-file: is for the event polling endpoint"):
        call_command(*add.split(), *polled)
    call_command(*add.split(), *polled, "--poll-endpoint", idp.endpoint)
    (made,) = (*IdentityProvider.objects.all(), *TokenIssuer.objects.all())
    assert (made.poll_endpoint, event_endpoint.open_token(made)) == (idp.endpoint, POLL_TOKEN)
