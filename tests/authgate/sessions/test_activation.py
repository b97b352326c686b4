from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied

from authgate.models.people import IdentityProvider, Person
from authgate.policy.powers import Machine
from authgate.sessions.activation import activate, deactivate

pytestmark = pytest.mark.django_db


class Staff(Machine):
    def access(self):
        return "staff"


@pytest.fixture
def person():
    provider = IdentityProvider.objects.create(slug="idp", client_id="gateway")
    return Person.objects.create(provider=provider, provider_subject="alice", email="old@example.com")


def test_whoever_is_kept_out_is_let_in_by_a_superuser_alone(person):
    deactivate(person, Staff("staff"))
    with pytest.raises(PermissionDenied):
        activate(person, Staff("staff"))
    assert not Person.objects.get().is_active
    activate(person, Machine("superuser"))
    assert Person.objects.get().is_active


def test_the_row_counts_and_not_what_was_read_of_it_before(person):
    deactivate(Person.objects.get(), Staff("staff"))
    assert person.is_active
    with pytest.raises(PermissionDenied):
        activate(person, Staff("staff"))


def test_what_a_sign_in_has_written_meanwhile_stays(person):
    Person.objects.update(email="new@example.com")
    deactivate(person, Staff("staff"))
    activate(person, Machine("superuser"))
    assert Person.objects.get().email == "new@example.com"
