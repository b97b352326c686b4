"""Every change to policy or trust at every door: the page, the action, the command, REST and the call itself.

The operation has the rule, so a door that is new or forgets something changes nothing about it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone

import authgate
from authgate.admin.accounts import AccountAdmin, AccountGroupAdmin
from authgate.admin.publishing import PolicyAdmin
from authgate.api.grants import grant_id
from authgate.authn.tokens import MAX_TTL
from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.policy import Role, RoleGrant
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import MintedToken, Revocation, RevokedToken, SigningKey
from authgate.oidc.security_event import EventType, SecurityEvent
from authgate.oidc.subject_identifier import SubjectId
from authgate.policy import revisions
from authgate.policy.compiler import compile_rows
from authgate.policy.document import parse_yaml, to_plain
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import Machine
from authgate.sessions import activation, deletion, ending, registration, reseal, revoking, signals
from authgate.state import issuers, minting, revocation, service_tokens, signing_keys
from authgate.state.service_tokens import Wanted
from authgate.state.signing_keys import Algorithm, Purpose
from authgate.state.trust import load_trust
from tests.support import powers
from tests.support.admin import form_values
from tests.support.operators import CLOSED, CONFIRMED, POLICY

pytestmark = pytest.mark.django_db
ROOT = Path(authgate.__file__).parent
ADMIN = "/admin/authgate/"
READER = Client()  # a superuser who looks at pages
MAIN = {
    "name": "main", "issuer": "https://main.example.com", "client_id": "c", "public_client": True,
    "require_verified_email": False,
}  # fmt: skip
NEW = {"slug": "new", "name": "New", "issuer": "https://new.example.com", "client_id": "c"}

NEW_ISSUER = {"slug": "new", "issuer": "https://new.example.com", "audiences": "a"}


@dataclass
class Caller:
    """The same access at each door: as an actor, and as the client of a local account."""

    access_now: str
    client: Client = field(default_factory=Client)
    name = "caller"

    def __post_init__(self) -> None:
        rights = {"is_staff": self.access_now != "none", "is_superuser": self.access_now == "superuser"}
        account = User.objects.create(username=self.name, **rights)
        account.user_permissions.set(Permission.objects.all())
        self.client.force_login(account)

    def access(self) -> Any:
        return self.access_now

    def post(self, path: str, **data: Any) -> None:
        self.client.post(ADMIN + path, {**data, **CONFIRMED})

    def rest(self, method: str, path: str, body: Any = None) -> None:
        data = "" if body is None else json.dumps(body)
        self.client.generic(method, f"/auth/api/v1/{path}", data, "application/json", headers={"host": "gateway.test"})

    def run(self, *command: str) -> None:
        call_command(*command, stdout=io.StringIO(), stderr=io.StringIO())


Act = Callable[[Caller], Any]


@dataclass
class Door:
    """One way to one operation. A command has no access of its own: it is the machine."""

    operation: Callable[..., Any]
    name: str
    act: Act
    needed: str  # the access that this very change takes
    holds: Callable[[], Any]  # after it, the same at each door
    first: Callable[[], Any]

    def __str__(self) -> str:
        return f"{self.operation.__name__} by {self.name}"


def person(subject: str = "alice") -> Person:
    return Person.objects.get(provider_subject=subject)


def main() -> IdentityProvider:
    return IdentityProvider.objects.get(slug="main")


def grant() -> RoleGrant:
    return RoleGrant.objects.get(role__name="helper")


def stored(path: str, **changes: Any) -> dict[str, Any]:
    """What the page of this path would send, with changes; None leaves a field out."""
    values = form_values(READER, ADMIN + path) | changes
    return {name: value for name, value in values.items() if value is not None}


def ci() -> TokenIssuer:
    return TokenIssuer.objects.get(slug="ci")


def save(caller: Caller, provider: IdentityProvider, **changes: Any) -> int:
    for name, value in changes.items():
        setattr(provider, name, value)
    return registration.save(provider, caller)


def change_provider(caller: Caller, provider: IdentityProvider, **changes: Any) -> None:
    path = f"identityprovider/{provider.pk}/change/"
    caller.post(path, **stored(path, public_client="on", **changes))


def publish_without_grant(caller: Caller) -> None:
    with transaction.atomic():
        grant().delete()
        revisions.publish(caller)


def import_policy(caller: Caller, text: str = CLOSED) -> None:
    file = Path(settings.AUTHGATE_DATA_DIR) / "operations.yaml"
    file.write_text(text)
    caller.run("policy", "import", str(file))


def select(caller: Caller, model: str, action: str, *rows: Any) -> None:
    caller.post(f"{model}/", action=action, post="yes", _selected_action=[row.pk for row in rows])


def delete(caller: Caller, model: str, row: Any) -> None:
    caller.post(f"{model}/{row.pk}/delete/", post="yes")


def let_everybody_in() -> None:
    Person.objects.update(is_active=True)


def token_keys() -> list[SigningKey]:
    return signing_keys.find_current(Purpose.TOKENS)


def has_ended(*subjects: str) -> bool:
    """For good: neither the row nor a cookie that is out goes on."""
    sids = [f"sid-{subject}" for subject in subjects]
    live = Session.objects.filter(sid__in=sids, ended_at=None)
    return not live.exists() and RevokedToken.objects.filter(jti__in=sids).count() == len(sids)


def is_published() -> bool:
    newest: Any = revisions.latest()
    return newest.number == 5 and revisions.live_document() == compile_rows()


def outlives_every_token() -> bool:
    return RevokedToken.objects.get(jti="lost").expires_at > timezone.now() + timedelta(seconds=MAX_TTL - 600)


def another_secret() -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret, also of 32 characters"


def nothing() -> None:
    pass


def doors(
    operation: Any, needed: str, holds: Callable[[], Any], first: Callable[[], Any] = nothing, **ways: Act
) -> list[Door]:
    return [Door(operation, name.replace("_", " "), act, needed, holds, first) for name, act in ways.items()]


ACCOUNT_DISABLED = SecurityEvent(
    "j", 0, EventType.ACCOUNT_DISABLED, EventType.ACCOUNT_DISABLED, SubjectId("opaque", opaque="alice"), ""
)
SOON = {"expires_at": "2026-01-01T00:00:00", "expires_at_0": "2026-01-01", "expires_at_1": "00:00:00"}
DOORS = [
    *doors(
        revisions.publish, "superuser", is_published,
        form=lambda by: by.post(f"role/{Role.objects.get(name='user').pk}/change/", name="user", admin="superuser"),
        delete=lambda by: delete(by, "rolegrant", grant()),
        action=lambda by: select(by, "rolegrant", "delete_selected", grant()),
        call=publish_without_grant,
    ),
    *doors(
        revisions.replace, "superuser", is_published,
        command=import_policy,
        rest=lambda by: by.rest("PUT", "policy", to_plain(parse_yaml(CLOSED))),
        rest_part=lambda by: by.rest("PUT", "roles/user", {"admin": "superuser"}),
        rest_grant=lambda by: by.rest("DELETE", f"grants/{grant_id(revisions.live_document().grants[1])}"),
        rest_new_grant=lambda by: by.rest("POST", "grants", {"role": "boss", "when": {"authenticated": True}}),
        call=lambda by: revisions.replace(parse_yaml(CLOSED), by),
    ),
    *doors(
        revisions.rollback, "superuser", is_published,
        page=lambda by: by.post("policyrevision/1/rollback/"),
        command=lambda by: by.run("policy", "rollback", "1"),
        rest=lambda by: by.rest("POST", "revisions/1/rollback"),
        call=lambda by: revisions.rollback(1, by),
    ),
    *doors(
        registration.save, "superuser", lambda: has_ended("alice", "bob", "carol") and not main().enabled,
        form=lambda by: change_provider(by, main(), enabled=None),
        rest=lambda by: by.rest("PUT", "providers/main", {**MAIN, "enabled": False}),
        call=lambda by: save(by, main(), enabled=False),
    ),
    *doors(
        registration.save, "superuser", lambda: IdentityProvider.objects.get(slug="new").client_id == "c",
        form_new=lambda by: by.post(
            "identityprovider/add/", **stored("identityprovider/add/", **NEW, public_client="on")
        ),
        command_new=lambda by: by.run(
            "provider", "add", "new", "--issuer", NEW["issuer"], "--client-id", "c", "--public-client"
        ),
        rest_new=lambda by: by.rest("PUT", "providers/new", {**NEW, "public_client": True}),
        call_new=lambda by: save(by, IdentityProvider(), **NEW),
    ),
    *doors(
        registration.remove, "superuser",
        lambda: has_ended("alice", "bob", "carol") and not IdentityProvider.objects.filter(slug="main"),
        first=let_everybody_in,
        delete=lambda by: delete(by, "identityprovider", main()),
        action=lambda by: select(by, "identityprovider", "delete_selected", *IdentityProvider.objects.all()),
        command=lambda by: by.run("provider", "remove", "main"),
        rest=lambda by: by.rest("DELETE", "providers/main"),
        call=lambda by: registration.remove([main()], by),
    ),
    *doors(
        issuers.save, "superuser", lambda: TokenIssuer.objects.filter(slug="new", issuer=NEW["issuer"]).exists(),
        form_new=lambda by: by.post("tokenissuer/add/", **stored("tokenissuer/add/", **NEW_ISSUER)),
        command_new=lambda by: by.run("issuer", "add", "new", "--issuer", NEW["issuer"], "--audience", "a"),
        rest_new=lambda by: by.rest("PUT", "issuers/new", {**NEW_ISSUER, "audiences": ["a"]}),
        call_new=lambda by: issuers.save(
            TokenIssuer(slug="new", issuer=NEW["issuer"], audiences=["a"]), by
        ),
    ),
    *doors(
        issuers.save, "superuser", lambda: not ci().enabled,
        form=lambda by: by.post(
            f"tokenissuer/{ci().pk}/change/", **stored(f"tokenissuer/{ci().pk}/change/", enabled=None)
        ),
    ),
    *doors(
        issuers.remove, "superuser", lambda: not TokenIssuer.objects.exists(),
        delete=lambda by: delete(by, "tokenissuer", ci()),
        action=lambda by: select(by, "tokenissuer", "delete_selected", ci()),
        command=lambda by: by.run("issuer", "remove", "ci"),
        rest=lambda by: by.rest("DELETE", "issuers/ci"),
        call=lambda by: issuers.remove([ci()], by),
    ),
    *doors(
        activation.deactivate, "staff", lambda: has_ended("alice") and not person().is_active,
        form=lambda by: by.post(f"person/{person().pk}/change/"),
        rest=lambda by: by.rest("PATCH", f"people/{person().pk}", {"is_active": False}),
        call=lambda by: activation.deactivate(person(), by),
    ),
    *doors(
        signals.react, "staff", lambda: has_ended("alice") and not person().is_active,
        call=lambda by: signals.react(ACCOUNT_DISABLED, signals.Sender("main", "", frozenset()), by),
    ),
    *doors(
        activation.activate, "superuser", lambda: person("mallory").is_active,
        form=lambda by: by.post(f"person/{person('mallory').pk}/change/", is_active="on"),
        rest=lambda by: by.rest("PATCH", f"people/{person('mallory').pk}", {"is_active": True}),
        call=lambda by: activation.activate(person("mallory"), by),
    ),
    *doors(
        deletion.delete, "staff", lambda: has_ended("alice") and not Person.objects.filter(provider_subject="alice"),
        delete=lambda by: delete(by, "person", person()),
        action=lambda by: select(by, "person", "delete_selected", person()),
        rest=lambda by: by.rest("DELETE", f"people/{person().pk}"),
        call=lambda by: deletion.delete(Person.objects.filter(provider_subject="alice"), by),
    ),
    *doors(
        ending.end_sessions, "staff", lambda: has_ended("alice"),
        action=lambda by: select(by, "session", "end_selected", Session.objects.get(sid="sid-alice")),
        command=lambda by: by.run("revoke", "--session", "sid-alice"),
        page=lambda by: by.post("session/sid-alice/end/"),
        rest=lambda by: by.rest("DELETE", "sessions/sid-alice"),
        rest_person=lambda by: by.rest("POST", f"people/{person().pk}/end-sessions"),
        page_person=lambda by: by.post(f"person/{person().pk}/end-sessions/"),
        call=lambda by: ending.end_sessions(Session.objects.filter(sid="sid-alice"), by, "test"),
    ),
    *doors(
        ending.end_everything, "superuser", lambda: has_ended("alice", "bob", "carol"),
        command=lambda by: by.run("sessions", "end", "--all"),
        call=lambda by: ending.end_everything(by, "test"),
    ),
    *doors(
        revocation.revoke, "staff", outlives_every_token,
        form=lambda by: by.post("revokedtoken/add/", jti="lost", reason="", **SOON),
        command=lambda by: by.run("revoke", "--jti", "lost"),
        rest=lambda by: by.rest("POST", "revoked-tokens", {"jti": "lost"}),
        call=lambda by: revocation.revoke("lost", "", by),
    ),
    *doors(
        revocation.revoke_all, "staff", lambda: RevokedToken.objects.filter(jti="minted").exists(),
        action=lambda by: select(by, "mintedtoken", "revoke_selected", MintedToken.objects.get()),
        call=lambda by: revocation.revoke_all(["minted"], "", by),
    ),
    *doors(
        revoking.revoke_subject, "staff",
        lambda: has_ended("alice") and Revocation.objects.get(subject="main|alice").issued_before > timezone.now(),
        form=lambda by: by.post("revocation/add/", subject="main|alice", issuer="", reason=""),
        command=lambda by: by.run("revoke", "--subject", "main|alice"),
        rest=lambda by: by.rest("POST", "revocations", {"subject": "main|alice"}),
        call=lambda by: revoking.revoke_subject("main|alice", "", by),
    ),
    *doors(
        revoking.revoke_issuer, "superuser",
        lambda: has_ended("alice", "bob", "carol") and Revocation.objects.get(issuer="gateway"),
        form=lambda by: by.post("revocation/add/", subject="", issuer="gateway", reason=""),
        command=lambda by: by.run("revoke", "--issuer", "gateway"),
        rest=lambda by: by.rest("POST", "revocations", {"issuer": "gateway"}),
        call=lambda by: revoking.revoke_issuer("gateway", "", by),
    ),
    *doors(
        service_tokens.create, "staff", lambda: ServiceToken.objects.get(name="new").roles == ["user"],
        form=lambda by: by.post("servicetoken/add/", name="new", days="30", roles=["user"]),
        command=lambda by: by.run("service_token", "create", "new", "--role", "user"),
        rest=lambda by: by.rest("POST", "service-tokens", {"name": "new", "roles": ["user"]}),
        call=lambda by: service_tokens.create(Wanted("new", roles=["user"]), by),
    ),
    *doors(
        service_tokens.create, "superuser", lambda: ServiceToken.objects.get(name="new").roles == ["boss"],
        form_powerful=lambda by: by.post("servicetoken/add/", name="new", days="30", roles=["boss"]),
        rest_powerful=lambda by: by.rest("POST", "service-tokens", {"name": "new", "roles": ["boss"]}),
        call_powerful=lambda by: service_tokens.create(Wanted("new", roles=["boss"]), by),
    ),
    *doors(
        service_tokens.end, "staff", lambda: ServiceToken.objects.get(name="ci-runner").ended_at,
        action=lambda by: select(by, "servicetoken", "end_selected", ServiceToken.objects.get(name="ci-runner")),
        command=lambda by: by.run("service_token", "revoke", "ci-runner"),
        command_revoke=lambda by: by.run("revoke", "--service-token", "ci-runner"),
        rest=lambda by: by.rest("DELETE", f"service-tokens/{ServiceToken.objects.get(name='ci-runner').pk}"),
        call=lambda by: service_tokens.end(ServiceToken.objects.filter(name="ci-runner"), by),
    ),
    *doors(
        minting.mint_access_token, "superuser", lambda: MintedToken.objects.get(subject="new").roles == [],
        command=lambda by: by.run("mint_token", "new"),
        call=lambda by: minting.mint_access_token(load_trust(), "new", by, ttl=60, extra_claims={}),
    ),
    *doors(
        signing_keys.rotate, "staff", lambda: [key.algorithm for key in token_keys()] == ["RS256", "RS256"],
        command=lambda by: by.run("keys", "rotate"),
        call=lambda by: signing_keys.rotate(Purpose.TOKENS, by),
    ),
    *doors(
        reseal.reseal, "superuser", lambda: reseal.count_old() == 0,
        first=another_secret,
        command=lambda by: by.run("keys", "reseal"),
        call=reseal.reseal,
    ),
    *doors(
        signing_keys.create, "staff", lambda: [key.algorithm for key in token_keys()] == ["ES256", "RS256"],
        form=lambda by: by.post("signingkey/add/", purpose="tokens", algorithm="ES256"),
        rest=lambda by: by.rest("POST", "keys", {"purpose": "tokens", "algorithm": "ES256"}),
        call=lambda by: signing_keys.create(Purpose.TOKENS, Algorithm.ES256, by),
    ),
    *doors(
        signing_keys.retire, "staff", lambda: not token_keys(),
        action=lambda by: select(by, "signingkey", "retire", *token_keys()),
        command=lambda by: [by.run("keys", "retire", key.kid) for key in token_keys()],
        rest=lambda by: [by.rest("POST", f"keys/{key.kid}/retire") for key in token_keys()],
        call=lambda by: signing_keys.retire(token_keys(), by),
    ),
]  # fmt: skip
BELOW = {"staff": ["none"], "superuser": ["none", "staff"]}
every_door = pytest.mark.parametrize("door", DOORS, ids=str)


@pytest.fixture(autouse=True)
def reader(world, db, settings) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = settings.SECRET_KEY, []  # taken back afterwards
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    READER.cookies.clear()
    READER.force_login(User.objects.get(username="root"))


@every_door
def test_at_every_door_the_change_is_made_with_all_that_belongs_to_it(door):
    door.first()
    assert not holds(door)
    door.act(Caller(door.needed))
    assert holds(door)


def holds(door: Door) -> bool:
    try:
        return bool(door.holds())
    except (
        RevokedToken.DoesNotExist,
        Revocation.DoesNotExist,
        MintedToken.DoesNotExist,
        ServiceToken.DoesNotExist,
        IdentityProvider.DoesNotExist,
    ):
        return False


@pytest.mark.parametrize(
    ("door", "access"),
    [(door, access) for door in DOORS for access in BELOW[door.needed] if not door.name.startswith("command")],
    ids=str,
)
def test_at_no_door_does_less_access_than_it_takes_change_anything(door, access):
    door.first()
    caller = Caller(access)
    before = powers.digest()
    if door.name.startswith("call"):
        with pytest.raises((PermissionDenied, PolicyInvalid)):
            door.act(caller)
    else:
        door.act(caller)
    assert powers.digest() == before


UNUSED_ROLE = POLICY.replace("roles: [user]", "roles: [nobody]")


def publish_a_missing_role(by: Caller) -> None:
    with transaction.atomic():
        Role.objects.filter(name="user").delete()
        revisions.publish(by)


def roll_back_to_what_is_reserved_now(act: Act) -> Act:
    def acting(by: Caller) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settings, "AUTHGATE_AUTH_PREFIX", "/wiki")
            act(by)

    return acting


# What no access makes right, by operation and door.
REFUSED: list[tuple[Any, str, Act]] = [
    (revisions.publish, "form", lambda by: by.post("upstream/add/", name="bad", targets="ftp://127.0.0.1")),
    (revisions.publish, "delete", lambda by: delete(by, "role", Role.objects.get(name="user"))),
    (revisions.publish, "action", lambda by: select(by, "role", "delete_selected", *Role.objects.all())),
    (revisions.publish, "call", publish_a_missing_role),
    (revisions.replace, "command", lambda by: import_policy(by, UNUSED_ROLE)),
    (revisions.replace, "rest", lambda by: by.rest("PUT", "policy", to_plain(parse_yaml(UNUSED_ROLE)))),
    (revisions.replace, "rest part", lambda by: by.rest("PUT", "upstreams/bad", {"targets": ["ftp://127.0.0.1"]})),
    (revisions.replace, "rest part", lambda by: by.rest("DELETE", "roles/user")),
    (revisions.replace, "call", lambda by: revisions.replace(parse_yaml(UNUSED_ROLE), by)),
    (revisions.rollback, "page", roll_back_to_what_is_reserved_now(lambda by: by.post("policyrevision/1/rollback/"))),
    (revisions.rollback, "command", roll_back_to_what_is_reserved_now(lambda by: by.run("policy", "rollback", "1"))),
    (
        revisions.rollback,
        "rest",
        roll_back_to_what_is_reserved_now(lambda by: by.rest("POST", "revisions/1/rollback")),
    ),
    (revisions.rollback, "call", roll_back_to_what_is_reserved_now(lambda by: revisions.rollback(1, by))),
    (registration.save, "form", lambda by: change_provider(by, main(), issuer="https://other.example.com")),
    (registration.save, "call", lambda by: save(by, main(), issuer="https://other.example.com")),
    (
        registration.save,
        "rest",
        lambda by: by.rest("PUT", "providers/main", {**MAIN, "issuer": "https://other.example.com"}),
    ),
    (registration.save, "rest", lambda by: by.rest("PUT", "providers/new", {"client_id": "c", "public_client": True})),
    (registration.save, "command", lambda by: by.run("provider", "add", "new", "--client-id", "c", "--public-client")),
    (registration.save, "call", lambda by: save(by, IdentityProvider(), **{**NEW, "issuer": ""})),
    (registration.remove, "delete", lambda by: delete(by, "identityprovider", main())),
    (registration.remove, "action", lambda by: select(by, "identityprovider", "delete_selected", main())),
    (registration.remove, "command", lambda by: by.run("provider", "remove", "main")),
    (registration.remove, "rest", lambda by: by.rest("DELETE", "providers/main")),
    (registration.remove, "call", lambda by: registration.remove([main()], by)),
    (deletion.delete, "rest", lambda by: by.rest("DELETE", f"people/{person('mallory').pk}")),
    (deletion.delete, "delete", lambda by: delete(by, "person", person("mallory"))),
    (deletion.delete, "action", lambda by: select(by, "person", "delete_selected", *Person.objects.all())),
    (deletion.delete, "call", lambda by: deletion.delete(Person.objects.all(), by)),
    (service_tokens.create, "form", lambda by: by.post("servicetoken/add/", name="ci-runner", days="30")),
    (service_tokens.create, "form", lambda by: by.post("servicetoken/add/", name="new", days="30", networks="x")),
    (service_tokens.create, "command", lambda by: by.run("service_token", "create", "ci-runner")),
    (service_tokens.create, "rest", lambda by: by.rest("POST", "service-tokens", {"name": "ci-runner"})),
    (service_tokens.create, "call", lambda by: service_tokens.create(Wanted("new", timedelta(days=367)), by)),
    (service_tokens.create, "call", lambda by: service_tokens.create(Wanted("new", roles=["nobody"]), by)),
    (service_tokens.end, "command", lambda by: by.run("service_token", "revoke", "nobody")),
    (revocation.revoke, "form", lambda by: by.post("revokedtoken/add/", jti="stolen", reason="again", **SOON)),
    (revocation.revoke, "command", lambda by: by.run("revoke", "--jti", "stolen")),
    (revocation.revoke, "call", lambda by: revocation.revoke("stolen", "again", by)),
    (revoking.revoke_subject, "form", lambda by: by.post("revocation/add/", subject="", issuer="", reason="")),
    (revoking.revoke_subject, "command", lambda by: by.run("revoke", "--subject", "")),
    (revoking.revoke_subject, "call", lambda by: revoking.revoke_subject("", "", by)),
    (revoking.revoke_issuer, "form", lambda by: by.post("revocation/add/", subject="", issuer="nobody", reason="")),
    (revoking.revoke_issuer, "command", lambda by: by.run("revoke", "--issuer", "nobody")),
    (revoking.revoke_issuer, "call", lambda by: revoking.revoke_issuer("nobody", "", by)),
]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: f"{refused[0].__name__} by {refused[1]}")
def test_what_must_hold_is_asked_of_a_superuser_at_every_door_too(refused):
    _, door, act = refused
    caller = Caller("superuser")
    before = powers.digest()
    if door in ("call", "command"):
        with pytest.raises((ValidationError, PolicyInvalid) if door == "call" else CommandError):
            act(caller)
    else:
        act(caller)
    assert powers.digest() == before


def test_a_superuser_by_role_removes_several_providers_and_their_own_among_them():
    """Their access is asked once: it ends with the first."""

    class ByRole(Machine):
        def access(self) -> Any:
            return "superuser" if IdentityProvider.objects.filter(slug="main").exists() else "none"

    let_everybody_in()
    registration.remove(IdentityProvider.objects.order_by("pk"), ByRole("alice"))
    assert not IdentityProvider.objects.exists()


def test_a_retired_key_signs_for_nobody_and_its_purpose_gets_another():
    kids = {key.kid for key in token_keys()}
    signing_keys.retire(token_keys(), Machine("test"))
    assert kids.isdisjoint(load_trust().token_keys)


# What takes an actor and changes nothing by itself.
ASKING = {"authgate.policy.revisions.compile_for", "authgate.policy.powers.find_refusals",
          "authgate.policy.turns.turn_of", "authgate.policy.turns.require"}  # fmt: skip


def test_every_operation_is_in_the_table():
    named = {f"{door.operation.__module__}.{door.operation.__name__}" for door in DOORS}
    assert set(functions_with_an_actor()) - ASKING == named


def functions_with_an_actor() -> Iterator[str]:
    for module in pkgutil.walk_packages([str(ROOT)], "authgate."):
        if ".migrations" in module.name:
            continue
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            is_open = function.__module__ == module.name and not name.startswith("_")
            if is_open and "actor" in inspect.signature(function).parameters:
                yield f"{module.name}.{name}"


WRITING = {"save", "delete", "update", "create", "bulk_create", "bulk_update", "get_or_create", "update_or_create",
           "set", "add", "remove", "clear", "raw", "execute"}  # fmt: skip
# Rows of the policy, which count for nothing until `publish` has accepted them in the same transaction.
PLAIN_POLICY_ROWS = {
    "admin/forms.py: self.instance.save",  # to be validated, and taken back
    "admin/publishing.py: self.model._default_manager.filter(pk__in=keys).delete",  # the same
    "admin/routes.py: Route.objects.filter(pk__in=queryset.values('pk')).update",
}
CALLS = {
    "admin/people.py: registration.save", "admin/people.py: registration.remove", "admin/people.py: deletion.delete",
    "admin/trust.py: signing_keys.create", "admin/service_tokens.py: service_tokens.create",
    "management/commands/service_token.py: service_tokens.create",
    "admin/issuers.py: issuers.save", "admin/issuers.py: issuers.remove",
    "management/commands/issuer.py: issuers.save", "management/commands/issuer.py: issuers.remove",
    "management/commands/provider.py: registration.save", "management/commands/provider.py: registration.remove",
    "api/providers.py: registration.save", "api/providers.py: registration.remove", "api/people.py: deletion.delete",
    "api/issuers.py: issuers.save", "api/issuers.py: issuers.remove", "api/keys.py: signing_keys.create",
    "api/service_tokens.py: service_tokens.create",
    # Of a policy that is not a row yet.
    "api/sections.py: section.remove",
    # Of a form: sets what was entered on a provider, which save_model then hands to the operation.
    "admin/people.py: super().save",
}  # fmt: skip


def test_no_page_no_command_and_no_resource_writes_a_row_itself():
    files = [*(ROOT / "admin").glob("*.py"), *(ROOT / "api").glob("*.py"), *(ROOT / "management").rglob("*.py")]
    found = {f"{file.relative_to(ROOT)}: {call}" for file in files for call in writing_calls(file)}
    assert found == PLAIN_POLICY_ROWS | CALLS


def writing_calls(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITING:
            yield ast.unparse(node.func)


# Django's own rows: only its pages change accounts and groups, and no operation of ours does.
ACCOUNTS = (AccountAdmin, AccountGroupAdmin)
WRITERS = {"save_model": ("add", "change"), "delete_model": ("delete",), "delete_queryset": ("delete",)}


def test_no_page_lets_django_write_a_row_of_trust():
    for page in admin.site._registry.values():
        if isinstance(page, (PolicyAdmin, *ACCOUNTS)):
            continue
        for writer, verbs in WRITERS.items():
            owner = next(kind for kind in type(page).__mro__ if writer in vars(kind))
            is_ours = owner.__module__.startswith("authgate.")
            assert is_ours or not any(permits(page, verb) for verb in verbs), (page, writer)


def permits(page: Any, verb: str) -> bool:
    request = READER.get("/admin/").wsgi_request
    row = () if verb == "add" else (page.model(),)
    return getattr(page, f"has_{verb}_permission")(request, *row)
