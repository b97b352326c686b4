from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from authgate.management.asking import add_yes, confirm
from authgate.management.explaining import explain
from authgate.management.files import add_polling, read_text, secret_of, take_polling
from authgate.models.people import IdentityProvider, Session
from authgate.models.provider_rules import OAUTH2_ENDPOINTS
from authgate.oidc.diagnose import diagnose
from authgate.oidc.presets import PRESETS
from authgate.oidc.provider import seal_client_secret
from authgate.oidc.to_register import redirect_uris
from authgate.policy.powers import Machine
from authgate.sessions import registration
from authgate.sessions.live import count, cut_off

_OPTIONS = {
    "slug": "SLUG", "name": "--name", "issuer": "--issuer", "client_id": "--client-id", "scopes": "--scope",
    "ca_certificates": "--ca-file", "require_verified_email": "--require-verified-email",
    "allowed_domains": "--allowed-domain", "claim_mapping": "--claim-mapping",
    "poll_endpoint": "--poll-endpoint", "poll_token": "--poll-token-file",
    "further_audiences": "--further-audience", "logout": "--logout",
    "callbacks": "--callbacks",
    **{name: f"--{name.replace('_', '-')}" for name in OAUTH2_ENDPOINTS},
}  # fmt: skip
_IF_TAKEN = "Change it in /admin/ or over REST (PUT), or remove it and forget its people: manage.py provider remove {}"
_ELSE_PUBLIC = "; if the provider gave you no secret, say --public-client"


class Command(BaseCommand):
    help = "Add, list, test and remove the identity providers that people sign in with."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="register a provider, and print the redirect URI to enter there")
        add.add_argument("slug", metavar="SLUG", help="part of the redirect URI; cannot change later")
        add.add_argument("--issuer", metavar="URL", help="may be left out where the preset knows it")
        add.add_argument("--client-id", required=True, metavar="ID")
        secret = add.add_mutually_exclusive_group(required=True)
        secret.add_argument("--client-secret", metavar="S")
        secret.add_argument("--client-secret-file", metavar="F", help="keeps the secret out of the list of processes")
        secret.add_argument("--public-client", action="store_true", help="the provider has given no secret: PKCE alone")
        add.add_argument("--name", metavar="N", help="on the sign-in button")
        add.add_argument("--scope", action="append", metavar="S", help="may be repeated; replaces the default scopes")
        add.add_argument("--preset", choices=sorted(PRESETS), metavar="P", help=", ".join(sorted(PRESETS)))
        for endpoint in OAUTH2_ENDPOINTS:
            add.add_argument(_OPTIONS[endpoint], metavar="URL", help="for OAuth 2.0, and where discovery is wrong")
        _add_rules(add)
        add_polling(add)
        add.add_argument("--ca-file", metavar="F", help="PEM certificates of the provider's own CA")
        actions.add_parser("list", help="all providers")
        test = actions.add_parser("test", help="ask the provider, and say what is wrong")
        remove = actions.add_parser("remove", help="remove a provider, and end its sessions")
        for parser in (test, remove):
            parser.add_argument("slug", metavar="SLUG")
        add_yes(remove)

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        getattr(self, f"_{action}")(**options)

    def _add(self, slug: str, **options: Any) -> None:
        provider = _build(slug, **options)
        if not provider.name:
            provider.name = slug
        try:
            take_polling(provider, **options)
            registration.save(provider, Machine("provider add"))
        except ValidationError as error:
            raise CommandError(explain(error, _OPTIONS, name="slug", if_taken=_IF_TAKEN.format(slug))) from error
        first, *others = redirect_uris(provider)
        self.stdout.write(f"added {slug}; redirect URI to register there: {first}")
        for uri in others:
            self.stdout.write(f"and for another host: {uri}")
        self.stdout.write(f"People can sign in with it as soon as it answers. Test it: manage.py provider test {slug}")

    def _list(self, **_: Any) -> None:
        for provider in IdentityProvider.objects.order_by("slug"):
            state = "" if provider.enabled else " (disabled)"
            issuer = provider.issuer or provider.get_kind_display()
            uris = redirect_uris(provider)
            self.stdout.write(f"{provider.slug}{state}  {provider.name}  {issuer}  {'  '.join(uris)}")

    def _test(self, slug: str, **_: Any) -> None:
        findings = diagnose(_get(slug))
        for finding in findings:
            self.stdout.write(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}")
        if failed := sum(not finding.ok for finding in findings):
            raise CommandError(f"{failed} of {len(findings)} checks of {slug} failed")

    def _remove(self, slug: str, yes: bool = False, **_: Any) -> None:
        provider = _get(slug)
        whom = cut_off(Session.objects.filter(person__provider=provider))
        confirm(f"This signs out {whom}.", "Everybody known by this provider is forgotten, for good.", yes=yes)
        try:
            ended = registration.remove([provider], Machine("provider remove"))
        except ValidationError as error:
            raise CommandError("\n".join(error.messages)) from error
        self.stdout.write(f"removed {slug}; {count(ended, 'session')} ended")


def _add_rules(add: ArgumentParser) -> None:
    add.add_argument(
        "--require-verified-email", action=BooleanOptionalAction, default=None,
        help="whether only people with a verified e-mail address (email_verified) may sign in; default: yes, "
        "unless the preset's provider never says so",
    )  # fmt: skip
    add.add_argument("--allowed-domain", action="append", metavar="D", help="may be repeated; of e-mail addresses")
    add.add_argument(
        "--claim-mapping", action="append", type=_mapping, metavar="NAME=CLAIM",
        help="may be repeated: where email, name or groups (OAuth 2.0: also sub) come as another claim",
    )  # fmt: skip
    add.add_argument("--further-audience", action="append", metavar="A", help="may be repeated; beside the client ID")
    add.add_argument(
        "--logout",
        choices=IdentityProvider.Logout.values,
        help="sign-out ends the session here only (local), or also there",
    )
    add.add_argument(
        "--callbacks",
        choices=IdentityProvider.Callbacks.values,
        help="one redirect URI for all hosts (public, the default), or one for each host that a route names",
    )


def _mapping(text: str) -> tuple[str, str]:
    name, separator, claim = text.partition("=")
    if not (separator and name.strip() and claim.strip()):
        raise ArgumentTypeError(f"{text!r} is not NAME=CLAIM, such as groups=realm_access.roles")
    return name.strip(), claim.strip()


def _build(slug: str, **options: Any) -> IdentityProvider:
    preset = PRESETS[options["preset"]].fields() if options["preset"] else {}
    given = {"issuer": options["issuer"], "name": options["name"], "scopes": options["scope"]}
    given |= {name: options[name] for name in (*OAUTH2_ENDPOINTS, "require_verified_email", "logout", "callbacks")}
    given |= {"allowed_domains": options["allowed_domain"], "further_audiences": options["further_audience"]}
    values = preset | {name: value for name, value in given.items() if value is not None}
    values["claim_mapping"] = {**values.get("claim_mapping", {}), **dict(options["claim_mapping"] or ())}
    provider = IdentityProvider(slug=slug, client_id=options["client_id"], **values)
    if options["ca_file"]:
        provider.ca_certificates = read_text(options["ca_file"], "--ca-file")
    if not options["public_client"]:
        provider.sealed_client_secret = seal_client_secret(provider, secret_of(**options, else_say=_ELSE_PUBLIC))
    return provider


def _get(slug: str) -> IdentityProvider:
    try:
        return IdentityProvider.objects.get(slug=slug)
    except IdentityProvider.DoesNotExist as error:
        raise CommandError(f"there is no provider {slug!r}") from error
