"""What the rules for a provider's endpoints cover: all that its row and its metadata have."""

from __future__ import annotations

from dataclasses import fields

from django.db import models

from authgate.models.people import IdentityProvider
from authgate.models.provider_rules import ENDPOINTS
from authgate.oidc.metadata import Metadata


def test_every_address_of_a_row_has_the_rules_of_an_endpoint():
    urls = [field.name for field in IdentityProvider._meta.fields if isinstance(field, models.URLField)]
    assert urls == ["issuer", *ENDPOINTS]


def test_the_metadata_has_the_same_endpoints():
    named = [field.name for field in fields(Metadata) if field.name.endswith(("_endpoint", "_uri"))]
    assert named == list(ENDPOINTS)
