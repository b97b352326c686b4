from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from authgate.models.issuers import TokenIssuer

pytestmark = pytest.mark.django_db
NAMED = ("as", "--issuer", "https://as.example.com", "--audience", "https://api.example.com")
NOWHERE = ("as", "--issuer", "kubernetes/serviceaccount", "--audience", "https://api.example.com")
ASKED = ("--strategy", "introspection", "--client-id", "gateway", "--client-authentication", "private_key_jwt")


def add(*args: str) -> None:
    call_command("issuer", "add", *args, stdout=StringIO())


def refused(*args: str) -> str:
    with pytest.raises(CommandError) as caught:
        add(*args)
    return str(caught.value)


def test_the_same_slug_twice_is_refused_and_the_first_one_stays():
    add(*NAMED)
    said = refused("as", "--issuer", "https://other.example.com", "--audience", "a")
    assert said.startswith("SLUG: ")
    assert said.endswith(" manage.py issuer remove as")
    assert TokenIssuer.objects.get().issuer == "https://as.example.com"


@pytest.mark.parametrize(
    ("options", "instead"),
    [((), "--jwks-url or --jwks-file"), (ASKED, "--introspection-endpoint")],
    ids=["keys", "introspection"],
)
def test_an_issuer_without_an_address_names_the_options_to_use_instead(options, instead):
    assert refused(*NOWHERE, *options).endswith(f"its discovery document is fetched there. Or give {instead}")


@pytest.mark.parametrize(("option", "example"), [("--required-claim", "PATH=VALUE"), ("--claim-mapping", "NAME=PATH")])
def test_what_is_no_pair_is_refused_with_an_example_of_its_own(option, example):
    assert f"argument {option}: 'foo' is not {example}, such as " in refused(*NAMED, option, "foo")
