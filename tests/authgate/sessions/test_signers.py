"""Who signs what comes unasked: which rows are asked about, and what is in memory of them."""

from __future__ import annotations

import pytest

from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider
from authgate.sessions.receiving import receive_event
from authgate.sessions.signers import IssuerSigner, ProviderSigner, all_signers
from authgate.state.issuer_keys import issuer_keys
from tests.support.issuers import API
from tests.support.token_provider import CLIENT_ID
from tests.support.transmitter import Transmitter

pytestmark = pytest.mark.django_db


@pytest.fixture
def idp():
    with Transmitter() as started:
        yield started
    issuer_keys.keep_only(set())


@pytest.fixture
def signers(idp):
    provider = IdentityProvider.objects.create(slug="idp", name="IdP", client_id=CLIENT_ID, issuer=idp.issuer)
    issuer = TokenIssuer.objects.create(slug="ci", issuer=idp.issuer, audiences=[API])
    return {"idp": ProviderSigner(provider), "ci": IssuerSigner(issuer)}


@pytest.mark.parametrize(("slug", "audience"), [("idp", CLIENT_ID), ("ci", API)])
def test_what_is_known_is_what_was_fetched(idp, signers, slug, audience):
    signer = signers[slug]
    assert signer.algorithms()  # a provider's are fetched, and its keys are not
    assert (signer.known(), signer.may_ask()) == (None, True)
    receive_event(slug, idp.event("ssf verification", aud=audience))
    known = signer.known()
    assert {key.kid for key in known.keys} == {idp.key.kid}
    assert set(known.algorithms) == set(signer.algorithms()) >= {"RS256"}


@pytest.mark.parametrize(("slug", "audience", "is_issuer"), [("idp", CLIENT_ID, False), ("ci", API, True)])
def test_whom_its_events_are_for(idp, signers, settings, slug, audience, is_issuer):
    sender = signers[slug].sender
    assert (sender.slug, sender.issuer, sender.is_issuer) == (slug, idp.issuer, is_issuer)
    assert sender.audiences == {audience, f"http://gateway.test{settings.AUTHGATE_AUTH_PREFIX}/events/{slug}"}


def test_only_what_is_enabled_and_signs(signers):
    IdentityProvider.objects.create(slug="hub", name="Hub", client_id="c", kind=IdentityProvider.Kind.GITHUB)
    assert [signer.slug for signer in all_signers()] == ["idp", "ci"]
    assert [signer.slug for signer in all_signers(slug="ci")] == ["ci"]
    IdentityProvider.objects.update(enabled=False)
    TokenIssuer.objects.update(enabled=False)
    assert list(all_signers()) == []
