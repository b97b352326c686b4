"""What an operator is told to register and to do for the hosts of routes."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command

from authgate.models.people import IdentityProvider
from authgate.oidc.to_register import redirect_uris
from authgate.policy import revisions
from authgate.policy.document import parse_yaml
from authgate.policy.powers import Machine
from tests.support.policies import demo_policy

pytestmark = pytest.mark.django_db
EACH, PUBLIC = IdentityProvider.Callbacks.EACH, IdentityProvider.Callbacks.PUBLIC


def text(*hosts: str) -> str:
    routes = [
        f"  - {{name: host{number}, host: '{host}', path: /, access: public, upstream: api}}\n"
        for number, host in enumerate(hosts)
    ]
    return demo_policy("http://127.0.0.1:8080") + "".join(routes)


def publish(*hosts: str) -> list[str]:
    """What is said about it."""
    return list(revisions.replace(parse_yaml(text(*hosts)), Machine("a test")).warnings)


@pytest.fixture(autouse=True)
def public_url(settings):
    settings.AUTHGATE_PUBLIC_URL, settings.SECURE = "https://gateway.example.com:8443", True


def provider(callbacks: str, slug: str = "idp", *, enabled: bool = True) -> IdentityProvider:
    return IdentityProvider.objects.create(slug=slug, client_id="c", callbacks=callbacks, enabled=enabled)


def test_one_redirect_uri_is_enough_whatever_hosts_there_are():
    publish("wiki.example.com", "*.apps.example.com")
    assert redirect_uris(provider(PUBLIC)) == ["https://gateway.example.com:8443/auth/callback/idp"]


def test_one_for_each_host_is_listed_for_every_host(settings):
    settings.AUTHGATE_ALLOWED_HOSTS = ("internal.example.com",)
    publish("wiki.example.com", "*.apps.example.com")
    hosts = ("gateway.example.com", "*.apps.example.com", "internal.example.com", "wiki.example.com")
    assert redirect_uris(provider(EACH)) == [f"https://{host}:8443/auth/callback/idp" for host in hosts]


def test_the_list_of_the_command_shows_all_of_them():
    publish("wiki.example.com")
    provider(EACH, "a")
    provider(PUBLIC, "b")
    output = io.StringIO()
    call_command("provider", "list", stdout=output)
    each, public = output.getvalue().splitlines()
    assert each.endswith(
        "https://gateway.example.com:8443/auth/callback/a  https://wiki.example.com:8443/auth/callback/a"
    )
    assert public.endswith("  https://gateway.example.com:8443/auth/callback/b")


def test_adding_one_prints_what_to_register_for_every_host():
    publish("wiki.example.com")
    output = io.StringIO()
    issuer = ("--issuer", "https://idp.example.com", "--client-id", "c", "--client-secret", "s3cr3t")
    call_command("provider", "add", "idp", *issuer, "--callbacks", "each", stdout=output)
    assert "and for another host: https://wiki.example.com:8443/auth/callback/idp\n" in output.getvalue()


def test_a_new_host_needs_dns_and_a_certificate_and_a_redirect_uri_where_each_host_has_one():
    provider(EACH, "each")
    provider(EACH, "off", enabled=False)
    provider(PUBLIC, "public")
    publish("old.example.com")
    assert publish("old.example.com", "wiki.example.com") == [
        "the host wiki.example.com is new: point its DNS name here, have a certificate for it (serve --tls-cert, or at "
        "the proxy in front), register https://wiki.example.com:8443/auth/callback/each at the provider each"
    ]


def test_over_plain_http_there_is_no_certificate_and_on_this_machine_nothing_to_do(settings):
    settings.AUTHGATE_PUBLIC_URL, settings.SECURE = "http://localhost:8000", False
    provider(PUBLIC)
    assert publish("wiki.localhost", "wiki.example.com") == [
        "the host wiki.example.com is new: point its DNS name here"
    ]


def test_a_wildcard_gives_codes_to_every_name_below_it_wherever_that_leads(settings):
    settings.AUTHGATE_PUBLIC_URL, settings.SECURE = "http://gateway.example.com", False
    assert publish("*.localhost", "*.apps.example.com") == [
        "the host *.apps.example.com is new: point every DNS name below it here (a server elsewhere under one of them "
        "could sign in as others)"
    ]


def test_a_host_that_is_known_or_has_gone_is_nothing_to_do():
    publish("wiki.example.com", "old.example.com")
    assert publish("wiki.example.com") == []


def test_of_many_new_hosts_some_are_named_and_the_rest_counted():
    said = publish(*(f"host{number}.example.com" for number in range(13)))
    assert (len(said), said[-1]) == (11, "… and 3 more new hosts")


def test_an_import_a_dry_run_and_a_rollback_say_what_is_left_to_do(tmp_path):
    path, line = tmp_path / "policy.yaml", "warning: the host wiki.example.com is new: point its DNS name here"

    def run(*args: str) -> str:
        said = io.StringIO()
        call_command("policy", *args, stdout=io.StringIO(), stderr=said)
        return said.getvalue()

    path.write_text(text("wiki.example.com"))
    assert line in run("import", str(path))  # the first policy of all
    path.write_text(text())
    assert run("import", str(path)) == ""
    path.write_text(text("wiki.example.com"))
    assert line in run("import", str(path), "--dry-run")
    assert line in run("rollback", "1")
