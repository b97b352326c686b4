from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from authgate.management.asking import add_yes, confirm
from authgate.management.explaining import explain
from authgate.management.files import add_polling, read_text, secret_of, take_polling
from authgate.models.issuer_rules import ASYMMETRIC, ENDPOINT, KEYS, MAPPED
from authgate.models.issuers import TokenIssuer
from authgate.policy.powers import Machine
from authgate.state import issuers
from authgate.state.issuer_diagnosis import diagnose

_OPTIONS = {
    "slug": "SLUG", "issuer": "--issuer", "audiences": "--audience", "jwks_url": "--jwks-url",
    "pasted_keys": "--jwks-file", "algorithms": "--algorithm", "strategy": "--strategy",
    "introspection_endpoint": "--introspection-endpoint", "client_id": "--client-id",
    "client_authentication": "--client-authentication (or --client-secret)", "required_scopes": "--required-scope",
    "required_claims": "--required-claim", "claim_mapping": "--claim-mapping", "typ": "--typ", "dpop": "--dpop",
    "poll_endpoint": "--poll-endpoint", "poll_token": "--poll-token-file", "leeway": "--leeway",
    "max_age": "--max-age", "introspection_seconds": "--introspection-seconds", "ca_certificates": "--ca-file",
}  # fmt: skip
_IF_TAKEN = "Change it in /admin/ or over REST (PUT), or remove it first: manage.py issuer remove {}"


class Command(BaseCommand):
    help = "Add, list, test and remove the issuers whose access tokens are taken."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        _add_options(actions.add_parser("add", help="take the access tokens of an issuer"))
        actions.add_parser("list", help="all issuers")
        test = actions.add_parser("test", help="ask the issuer, and say what is wrong")
        remove = actions.add_parser("remove", help="refuse the issuer's tokens from now on")
        for one in (test, remove):
            one.add_argument("slug", metavar="SLUG")
        test.add_argument("--token", metavar="T", default="", help="an access token of the issuer, to be judged")
        add_yes(remove)

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        getattr(self, f"_{action}")(**options)

    def _add(self, slug: str, **options: Any) -> None:
        issuer = _build(slug, **options)
        try:
            take_polling(issuer, **options)
            issuers.save(issuer, Machine("issuer add"))
        except ValidationError as error:
            raise CommandError(_explain(error, slug)) from error
        self.stdout.write(f"added {slug}: tokens with iss {issuer.issuer} for {', '.join(issuer.audiences)} are taken")
        self.stdout.write(f"Their callers are named {slug}|…; test it: manage.py issuer test {slug} --token TOKEN")

    def _list(self, **_: Any) -> None:
        for issuer in TokenIssuer.objects.order_by("slug"):
            state = "" if issuer.enabled else " (disabled)"
            audiences = ", ".join(issuer.audiences)
            self.stdout.write(f"{issuer.slug}{state}  {issuer.issuer}  {issuer.strategy}  {audiences}")

    def _test(self, slug: str, token: str, **_: Any) -> None:
        findings = diagnose(_get(slug), token)
        for finding in findings:
            self.stdout.write(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.detail}")
        if failed := sum(not finding.ok for finding in findings):
            raise CommandError(f"{failed} of {len(findings)} checks of {slug} failed")

    def _remove(self, slug: str, yes: bool = False, **_: Any) -> None:
        issuer = _get(slug)
        confirm(f"All tokens of {issuer.issuer} are refused at once.", yes=yes)
        issuers.remove([issuer], Machine("issuer remove"))
        self.stdout.write(f"removed {slug}; its tokens are refused")


def _add_options(add: ArgumentParser) -> None:
    add.add_argument("slug", metavar="SLUG", help="its name in routes and in front of subjects; cannot change later")
    add.add_argument("--issuer", required=True, metavar="URL", help="to the letter as in the tokens' iss")
    add.add_argument("--audience", action="append", required=True, metavar="A", help="may be repeated: any one will do")
    keys = add.add_mutually_exclusive_group()
    keys.add_argument("--jwks-url", metavar="U", help="where its keys are; default: as its discovery document says")
    keys.add_argument("--jwks-file", metavar="F", help='its keys, where it publishes none: a JSON object with "keys"')
    add.add_argument("--algorithm", action="append", choices=ASYMMETRIC, metavar="RS256", help="may be repeated")
    add.add_argument("--strategy", choices=TokenIssuer.Strategy.values, help="verify JWTs, introspect, or both (auto)")
    add.add_argument("--introspection-endpoint", metavar="U", help="default: as its discovery document says")
    add.add_argument("--client-id", metavar="C", help="with which the gateway introspects")
    secret = add.add_mutually_exclusive_group()
    secret.add_argument("--client-secret", metavar="S")
    secret.add_argument("--client-secret-file", metavar="F", help="keeps the secret out of the list of processes")
    add.add_argument("--client-authentication", choices=TokenIssuer.ClientAuthentication.values)
    add.add_argument("--introspection-seconds", type=int, metavar="N", help="for which an answer holds; 0: ask always")
    add.add_argument("--required-scope", action="append", metavar="S", help="may be repeated: all are needed")
    add.add_argument(
        "--required-claim", action="append", type=_claim, metavar="PATH=VALUE", help="may be repeated; VALUE as in JSON"
    )
    add.add_argument("--roles-claim", metavar="PATH", help="whose values are roles, such as realm_access.roles")
    add.add_argument(
        "--claim-mapping", action="append", type=_mapping, metavar="NAME=PATH",
        help=f"may be repeated: where {', '.join(MAPPED)} come as another claim",
    )  # fmt: skip
    add.add_argument("--typ", choices=TokenIssuer.Type.values, help="strict: at+jwt alone (RFC 9068)")
    add.add_argument(
        "--dpop", choices=TokenIssuer.Dpop.values, help="whether its tokens are bound to keys (RFC 9449); default: off"
    )
    add.add_argument("--leeway", type=int, metavar="SECONDS", help="that its clock may differ")
    add.add_argument("--max-age", type=int, metavar="SECONDS", help="since the token was issued")
    add_polling(add)
    add.add_argument("--ca-file", metavar="F", help="PEM certificates of the issuer's own CA")


def _build(slug: str, **options: Any) -> TokenIssuer:
    plain = (
        "issuer", "strategy", "jwks_url", "introspection_endpoint", "client_id", "client_authentication",
        "introspection_seconds", "typ", "dpop", "leeway", "max_age",
    )  # fmt: skip
    given = {name: options[name] for name in plain}
    given |= {"audiences": options["audience"], "algorithms": options["algorithm"]}
    given |= {"required_scopes": options["required_scope"]}
    issuer = TokenIssuer(slug=slug, **{name: value for name, value in given.items() if value is not None})
    issuer.required_claims = {where: _value(text) for where, text in options["required_claim"] or ()}
    issuer.claim_mapping = dict(options["claim_mapping"] or ())
    if options["roles_claim"]:
        issuer.claim_mapping["roles"] = options["roles_claim"]
    if options["jwks_file"]:
        issuer.pasted_keys = read_text(options["jwks_file"], "--jwks-file")
    if options["ca_file"]:
        issuer.ca_certificates = read_text(options["ca_file"], "--ca-file")
    if options["client_secret"] is not None or options["client_secret_file"]:
        issuer.sealed_client_secret = issuers.seal_client_secret(slug, secret_of(**options))
    return issuer


def _claim(text: str) -> tuple[str, str]:
    return _pair(text, "PATH=VALUE, such as repository_owner=octo-org")


def _mapping(text: str) -> tuple[str, str]:
    return _pair(text, "NAME=PATH, such as groups=realm_access.groups")


def _pair(text: str, form: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (separator and name.strip() and value.strip()):
        raise ArgumentTypeError(f"{text!r} is not {form}")
    return name.strip(), value.strip()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _get(slug: str) -> TokenIssuer:
    try:
        return TokenIssuer.objects.get(slug=slug)
    except TokenIssuer.DoesNotExist as error:
        raise CommandError(f"there is no issuer {slug!r}") from error


def _explain(error: ValidationError, slug: str) -> str:
    text = explain(error, _OPTIONS, name="slug", if_taken=_IF_TAKEN.format(slug))
    return text.replace(KEYS, "--jwks-url or --jwks-file").replace(ENDPOINT, "--introspection-endpoint")
