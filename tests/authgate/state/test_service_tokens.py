"""Service tokens as rows: what the workers hold of them, and what is said before they expire."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.utils import timezone

from authgate.checks.database import ROWS
from authgate.models.people import Person
from authgate.models.service_tokens import ServiceToken
from authgate.policy.powers import Machine
from authgate.sessions import purge, store
from authgate.state import last_used, service_tokens
from authgate.state.service_tokens import Wanted
from authgate.state.token_rows import build_tokens, read_tokens

pytestmark = pytest.mark.django_db
ACTOR = Machine("test")


@pytest.fixture(autouse=True)
def rows(world, db):
    """With their own counter: what is read again, and what is not."""


def create(name, days=90, **fields):
    return service_tokens.create(Wanted(name, timedelta(days=days), **fields), ACTOR)


def warnings():
    found = run_checks(tags=[ROWS], databases=["default"])
    return [message.msg for message in found if message.id == "authgate.W076"]


def test_a_token_that_expires_soon_is_named_by_check():
    ServiceToken.objects.all().delete()
    create("far")
    create("near", days=13, owner="ops@example.com")
    [line] = warnings()
    assert line.startswith("The service token 'near' expires on ")
    assert line.endswith("(owner: ops@example.com).")


def test_the_log_names_it_once_a_day(caplog):
    create("near", days=13)
    purge.tell_what_expires()
    purge.tell_what_expires()
    assert [record.getMessage().partition(" expires")[0] for record in caplog.records].count(
        "the service token 'near' of nobody"
    ) == 1


def test_rows_are_read_again_only_when_a_token_or_what_it_rests_on_has_changed():
    before = read_tokens(None)
    store.end("sid-carol", "test")
    assert read_tokens(before) is before
    create("new")
    after = read_tokens(before)
    assert len(after.rows) == len(before.rows) + 1
    assert read_tokens(after) is after


def test_what_has_been_over_for_a_month_is_forgotten():
    made = create("old", days=1)
    assert made.row.digest in {digest.hex() for digest in build_tokens(read_tokens(None))}
    ServiceToken.objects.filter(pk=made.row.pk).update(expires_at=timezone.now() - timedelta(days=31))
    purge.purge()
    assert not ServiceToken.objects.filter(pk=made.row.pk).exists()


def test_claims_that_are_kept_are_bounded_and_of_no_single_sign_in():
    claims = {"groups": ["g" * 100] * 1000, "email": "a@example.com", "iat": 1, "nonce": "n", "sid": "s"}
    assert store.claims_to_keep(claims) == {"email": "a@example.com"}


def test_a_claim_as_large_as_json_allows_disturbs_nobody():
    """Numbers that no other encoding takes."""
    person = Person.objects.get(provider_subject="alice")
    person.claims = {"level": 2**80, "half": 1.5}
    person.save()
    ServiceToken.objects.create(
        name="laptop", person=person, digest="2" * 64, expires_at=timezone.now() + timedelta(days=1)
    )
    token = build_tokens(read_tokens(None))[bytes.fromhex("2" * 64)]
    assert token.claims["level"] == 2**80


def test_a_later_use_is_never_replaced_by_an_earlier_one():
    row = create("used").row
    last_used.note(row.pk)
    last_used.write()
    row.refresh_from_db()
    at = row.last_used_at
    assert timezone.now() - at < timedelta(seconds=10)
    last_used._used[row.pk] = at.timestamp() - 60
    last_used.write()
    row.refresh_from_db()
    assert (row.last_used_at, last_used._used) == (at, {})


def test_a_use_is_written_once():
    """The clock is finer than what a database keeps."""
    row = create("used").row
    last_used._used[row.pk] = 1_800_000_000.1234567
    last_used.write()
    assert last_used._used == {}
