from __future__ import annotations

import re
import shlex
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from authgate.checks.database import check_providers
from authgate.models.people import IdentityProvider
from authgate.oidc.provider import client_secret_of
from tests.support.gateway import ROOT
from tests.support.typed import write_secret

pytestmark = pytest.mark.django_db
DOCUMENT = (ROOT / "docs" / "sign-in.md").read_text()
[SECRET_FILE] = re.findall(r"```bash\n(.+?)```", DOCUMENT, re.DOTALL)
RECIPES = re.findall(r"Redirect URI: `(.+)`\n\n    manage.py (provider add .+)", DOCUMENT)
ISSUER = ("--issuer", "https://idp.example.com")
CLIENT = ("--client-id", "gateway", "--client-secret", "s3cr3t-of-the-test")


def run(*args: str) -> str:
    output = StringIO()
    call_command("provider", *args, stdout=output)
    return output.getvalue()


def refused(*args: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*args)
    assert not IdentityProvider.objects.exists()
    return str(caught.value)


def test_every_preset_has_a_recipe():
    from authgate.oidc.presets import PRESETS

    named = [re.findall("--preset ([a-z0-9]+)", line) for _, line in RECIPES]
    assert {preset for presets in named for preset in presets} == set(PRESETS)


@pytest.mark.parametrize(("redirect_uri", "line"), RECIPES, ids=[shlex.split(line)[2] for _, line in RECIPES])
def test_each_recipe_registers_the_provider_it_says(redirect_uri, line, settings, tmp_path, monkeypatch):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    monkeypatch.chdir(tmp_path)
    write_secret(SECRET_FILE, "s3cr3t")
    assert redirect_uri in run(*shlex.split(line)[1:])
    assert client_secret_of(IdentityProvider.objects.get()) == "s3cr3t"


def test_no_output_holds_the_secret():
    said = run("add", "idp", *ISSUER, *CLIENT) + run("list") + run("remove", "idp")
    assert "http://gateway.test/auth/callback/idp" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("idp", *CLIENT), "--issuer: is needed for OpenID Connect"),
        (
            ("idp", "--issuer", "http://idp.example.com", *CLIENT),
            "--issuer: must be https; plain http is for loopback hosts only",
        ),
        (("idp", "--preset", "okta", *CLIENT), "--issuer: still has a {placeholder} to replace"),
        (("idp", *ISSUER, "--scope", "email", *CLIENT), "--scope: must contain openid: without it no ID token comes"),
        (
            ("idp", *ISSUER, "--client-id", "a", "--client-secret-file", "/nowhere"),
            "--client-secret-file /nowhere: No such file or directory",
        ),
        (
            ("idp", *ISSUER, "--client-id", "a", "--client-secret", " "),
            "--client-secret is empty; if the provider gave you no secret, say --public-client",
        ),
        (
            ("idp", "--issuer", "https://169.254.169.254", *CLIENT),
            "--issuer: is link-local (cloud metadata), where no provider is",
        ),
        (
            ("idp", "--issuer", "https://a.example/.well-known/openid-configuration/", *CLIENT),
            "--issuer: must be the issuer itself, without /.well-known/openid-configuration/",
        ),
        (("idp", "--preset", "oauth2", *CLIENT), "--token-endpoint: is needed for OAuth 2.0, which has no discovery"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_option(args, message):
    assert message in refused("add", *args).splitlines()


def test_the_address_of_a_discovery_document_names_its_issuer():
    run("add", "idp", "--issuer", "https://a.example/.well-known/openid-configuration", *CLIENT)
    assert IdentityProvider.objects.get().issuer == "https://a.example"


def test_a_certificate_file_must_hold_certificates(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    said = refused("add", "idp", *ISSUER, *CLIENT, "--ca-file", str(file))
    assert said == "--ca-file: must be PEM certificates (-----BEGIN CERTIFICATE-----)"


def test_the_same_slug_twice_is_refused_and_the_first_one_stays():
    run("add", "idp", *ISSUER, *CLIENT)
    with pytest.raises(CommandError, match=r"\ASLUG: .+ manage\.py provider remove idp\Z"):
        run("add", "idp", "--issuer", "https://other.example.com", *CLIENT)
    assert IdentityProvider.objects.get().issuer == "https://idp.example.com"


def test_plain_http_is_accepted_on_loopback():
    run("add", "idp", "--issuer", "http://127.0.0.1:9", *CLIENT)
    assert IdentityProvider.objects.get().name == "idp"


def test_a_test_that_fails_says_what_and_is_an_error(capsys):
    run("add", "idp", "--issuer", "http://127.0.0.1:9", *CLIENT)
    output = StringIO()
    with pytest.raises(CommandError, match="1 of 2 checks of idp failed"):
        call_command("provider", "test", "idp", stdout=output)
    assert (
        "FAIL  discovery: the discovery document at 127.0.0.1:9 cannot be reached: Connection refused"
        in output.getvalue()
    )


@pytest.mark.parametrize("action", ["test", "remove"])
def test_an_unknown_provider_is_named(action):
    assert refused(action, "nobody") == "there is no provider 'nobody'"


def test_a_secret_that_a_new_key_cannot_open_is_a_warning(settings):
    run("add", "idp", *ISSUER, *CLIENT)
    before = check_providers(None, databases=["default"])
    settings.SECRET_KEY = "another key, with which nothing has been sealed so far"
    after = check_providers(None, databases=["default"])
    assert (before, [message.id for message in after]) == ([], ["authgate.W007"])


def test_every_rule_of_signing_in_has_an_option():
    run(
        "add", "idp", *ISSUER, *CLIENT, "--no-require-verified-email", "--allowed-domain", "example.com",
        "--allowed-domain", "example.org", "--claim-mapping", "groups=realm_access.roles",
        "--further-audience", "proj-1", "--logout", "local",
    )  # fmt: skip
    row = IdentityProvider.objects.get()
    assert (row.require_verified_email, row.logout) == (False, "local")
    assert (row.allowed_domains, row.further_audiences) == (["example.com", "example.org"], ["proj-1"])
    assert row.claim_mapping == {"groups": "realm_access.roles"}


def test_without_options_a_provider_has_the_rules_of_its_preset():
    run("add", "idp", "--preset", "google", *CLIENT)
    row = IdentityProvider.objects.get()
    assert (row.require_verified_email, row.claim_mapping, row.further_audiences, row.logout) == (
        True,
        {},
        [],
        "provider",
    )


def test_an_option_goes_before_the_preset():
    entra = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"
    run("add", "idp", "--preset", "entra", "--issuer", entra, "--require-verified-email", *CLIENT)
    assert IdentityProvider.objects.get().require_verified_email


def test_a_public_client_is_one_only_when_it_is_said():
    run("add", "idp", *ISSUER, "--client-id", "gateway", "--public-client")
    assert client_secret_of(IdentityProvider.objects.get()) == ""


def test_an_empty_file_is_no_secret(tmp_path):
    file = tmp_path / "secret.txt"
    file.write_text("\n")
    said = refused("add", "idp", *ISSUER, "--client-id", "gateway", "--client-secret-file", str(file))
    assert said == "--client-secret-file is empty; if the provider gave you no secret, say --public-client"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--claim-mapping", "groups", "'groups' is not NAME=CLAIM"),
        ("--claim-mapping", "roles=x", "--claim-mapping: 'roles' is not one of email, name, groups"),
        ("--allowed-domain", "@example.com", "--allowed-domain: '@example.com' is not a domain"),
        ("--further-audience", "gateway", "--further-audience: must not name the client ID"),
        ("--logout", "never", "invalid choice: 'never'"),
    ],
)
def test_a_rule_that_is_none_is_named_with_its_option(option, value, message):
    assert message in refused("add", "idp", *ISSUER, *CLIENT, option, value)


EVERY_TENANT = [
    "https://login.microsoftonline.com/common/v2.0", "https://login.microsoftonline.com/organizations/v2.0",
    "https://login.microsoftonline.com/Common/v2.0", "https://LOGIN.microsoftonline.com//common",
    "https://login.microsoftonline.us/common/v2.0", "https://login.microsoftonline.com/consumers/v2.0",
    "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
]  # fmt: skip


@pytest.mark.parametrize("issuer", EVERY_TENANT)
def test_the_addresses_of_every_entra_tenant_are_refused(issuer):
    assert "--issuer: must name your tenant's ID" in refused("add", "idp", "--issuer", issuer, *CLIENT)
