"""Whether the tokens of an issuer are bound to keys: by the form, and by the command."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from authgate.models.issuers import TokenIssuer
from tests.support.admin import form_values, sign_in

pytestmark = pytest.mark.django_db
FORM = "/admin/authgate/tokenissuer/"
NAMED = {"slug": "as", "issuer": "https://as.example.com", "audiences": "https://api.example.com"}


def dpop() -> str:
    return TokenIssuer.objects.get(slug="as").dpop


def test_the_form_adds_and_changes_it(client):
    by = sign_in(client)
    by.post(f"{FORM}add/", form_values(by, f"{FORM}add/") | NAMED)
    assert dpop() == "off"
    page = f"{FORM}{TokenIssuer.objects.get().pk}/change/"
    for mode in TokenIssuer.Dpop.values:
        by.post(page, form_values(by, page) | {"audiences": NAMED["audiences"], "dpop": mode})
        assert (dpop(), form_values(by, page)["dpop"]) == (mode, mode)


def test_the_form_takes_no_other(client):
    by = sign_in(client)
    refused = by.post(f"{FORM}add/", form_values(by, f"{FORM}add/") | NAMED | {"dpop": "maybe"})
    assert set(refused.context["adminform"].form.errors) == {"dpop"}
    assert not TokenIssuer.objects.exists()


def add(*options: str) -> None:
    call_command(
        "issuer", "add", "as", "--issuer", NAMED["issuer"], "--audience", "https://api.example.com", *options,
        stdout=StringIO(),
    )  # fmt: skip


@pytest.mark.parametrize("mode", TokenIssuer.Dpop.values)
def test_the_command_adds_it(mode):
    add("--dpop", mode)
    assert dpop() == mode


def test_the_command_takes_no_other_and_needs_none():
    with pytest.raises(CommandError, match="--dpop"):
        add("--dpop", "maybe")
    add()
    assert dpop() == "off"
