"""Identity providers and token issuers, by the tests that their own commands run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from authgate.doctor.certificates import judge_end
from authgate.doctor.finding import Finding, error, ok
from authgate.doctor.registry import Further, Subject, register
from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider
from authgate.oidc import diagnose as provider_diagnosis
from authgate.outbound.certificate import valid_until
from authgate.outbound.errors import ProviderError
from authgate.state import issuer_diagnosis

_OF_PROVIDERS = {
    "client": "Enter the client secret and the scopes again in admin.",
    "discovery": "Correct the issuer in admin; see DNS and firewall; a private CA belongs into its CA certificates.",
    "issuer": "Set the issuer in admin.",
    "keys": "Ask the provider's operator: the key set is not usable.",
    "credentials": "Correct client ID and client secret in admin, and the redirect URI at the provider.",
    "clock": "Set the clocks by NTP: timedatectl says whether this machine's is synchronised.",
    "events": "Correct the poll endpoint and its token in admin.",
}
_OF_ISSUERS = {
    "keys": "Correct the issuer, its JWKS URL or its algorithms in admin; see DNS and firewall.",
    "introspection": "Correct the introspection endpoint in admin.",
    "events": "Correct the poll endpoint and its token in admin.",
}
_DISABLED = "disabled, and so not asked"


@register(Subject.PROVIDERS)
def examine_providers() -> Iterator[Finding | Further]:
    for provider in IdentityProvider.objects.order_by("slug"):
        if provider.enabled:
            yield Further(provider.slug, partial(_examine_provider, provider))
        else:
            yield ok(provider.slug, _DISABLED)


@register(Subject.ISSUERS)
def examine_issuers() -> Iterator[Finding | Further]:
    for issuer in TokenIssuer.objects.order_by("slug"):
        if issuer.enabled:
            yield Further(issuer.slug, partial(_examine_issuer, issuer))
        else:
            yield ok(issuer.slug, _DISABLED)


def _examine_provider(provider: IdentityProvider) -> Iterator[Finding]:
    again = f"Then: manage.py provider test {provider.slug}"
    for found in provider_diagnosis.diagnose(provider):
        yield _finding(provider.slug, found, _OF_PROVIDERS, again)
    yield from _certificate(provider, provider.issuer or provider.token_endpoint)


def _examine_issuer(issuer: TokenIssuer) -> Iterator[Finding]:
    again = f"Then: manage.py issuer test {issuer.slug}"
    for found in issuer_diagnosis.diagnose(issuer):
        yield _finding(issuer.slug, found, _OF_ISSUERS, again)
    asked = issuer.jwks_url or ("" if issuer.pasted_keys else issuer.issuer)
    yield from _certificate(issuer, asked or issuer.introspection_endpoint)


def _certificate(asked: IdentityProvider | TokenIssuer, url: str) -> Iterator[Finding]:
    """Of the server that is asked. That it is not trusted, or has ended, is said by the test itself."""
    if not url.startswith("https://"):
        return
    with suppress(ProviderError):
        end = valid_until(url, "server", asked.ca_certificates)
        yield judge_end(f"{asked.slug}: certificate", end, "Tell its operator: afterwards it is not asked any more.")


def _finding(slug: str, found: provider_diagnosis.Finding, remedies: dict[str, str], again: str) -> Finding:
    name = f"{slug}: {found.what}"
    if found.ok:
        return ok(name, found.detail)
    return error(name, found.detail, f"{remedies.get(found.what, '')} {again}".strip())
