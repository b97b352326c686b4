"""Everything that can be posted to the admin, found by looking: the rows of a small gateway, and each form of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import models
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider, Person, Session, UsedOnce
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import MintedToken, Revocation, RevokedToken, SigningKey
from authgate.policy import revisions
from authgate.policy.document import parse_yaml
from authgate.policy.powers import Machine
from authgate.state import signing_keys
from authgate.state.trust import load_trust

POLICY = """\
version: 1
upstreams:
  api: {targets: ["http://127.0.0.1:9"]}
  spare: {targets: ["http://127.0.0.1:9"]}
roles:
  boss: {admin: superuser}
  helper: {admin: staff}
  user: {}
  spare: {}
grants:
  - {role: user, when: {authenticated: true}}
  - {role: boss, when: {claim: is_admin, equals: true}}
  - {role: helper, when: {claim: groups, contains: helpers}}
rate_limits:
  api: {rate: 10/s, burst: 20}
  spare: {rate: 10/s, burst: 20}
routes:
  - {name: wiki, path: /wiki, access: roles, roles: [user], upstream: api, rate_limit: api}
  - {name: off, path: /off, access: public, upstream: api, enabled: false}
"""
SHORT = "\n".join(POLICY.splitlines()[:-1])
WEAK = POLICY.replace("{claim: is_admin, equals: true}", "{authenticated: true}")
CLOSED = POLICY.replace("boss: {admin: superuser}", "boss: {}").replace("helper: {admin: staff}", "helper: {}")
NEW_PASSWORD = "a password that nobody has"


def make_world() -> None:
    """Of each kind of thing one that gives power, or would if it were given back."""
    for text in (CLOSED, WEAK, SHORT, POLICY):
        revisions.replace(parse_yaml(text), Machine("test"))
    TokenIssuer.objects.create(slug="ci", issuer="https://ci.example.com", audiences=["https://api.example.com"])
    main, off = (
        IdentityProvider.objects.create(
            slug=slug,
            name=slug,
            issuer=f"https://{slug}.example.com",
            client_id="c",
            enabled=enabled,
            require_verified_email=False,
        )
        for slug, enabled in (("main", True), ("off", False))
    )
    for name, claims in (("alice", {"is_admin": True}), ("bob", {"groups": ["helpers"]}), ("carol", {})):
        make_session(Person.objects.create(provider=main, provider_subject=name), f"sid-{name}", claims)
    mallory = Person.objects.create(provider=main, provider_subject="mallory", is_active=False)
    make_session(mallory, "sid-mallory", {"is_admin": True}, ended_at=timezone.now())
    Person.objects.create(provider=off, provider_subject="zoe")
    group = Group.objects.create(name="accountants")
    group.permissions.set(Permission.objects.filter(codename__endswith="_user"))
    User.objects.create(username="root", is_staff=True, is_superuser=True)
    User.objects.create(username="former", is_staff=True, is_superuser=True, is_active=False)
    User.objects.create(username="sso:main|alice")
    load_trust()
    retired = signing_keys.create(SigningKey.Purpose.TOKENS, SigningKey.Algorithm.ES256, Machine("test"))
    SigningKey.objects.filter(pk=retired.pk).update(retired_at=timezone.now())
    RevokedToken.objects.create(jti="stolen", expires_at=timezone.now() + timedelta(days=1))
    later = timezone.now() + timedelta(days=1)
    Revocation.objects.create(subject="thief", issued_before=timezone.now(), expires_at=later)
    MintedToken.objects.create(
        jti="minted", subject="alice", kid=retired.kid, minted_at=timezone.now(), expires_at=later, minted_by="test"
    )
    tokens = {"digest": "0" * 64, "expires_at": later, "roles": ["user"]}
    ServiceToken.objects.create(name="ci-runner", **tokens)
    own = {**tokens, "digest": "1" * 64, "ended_at": timezone.now()}
    ServiceToken.objects.create(name="laptop", person=mallory, **own)
    UsedOnce.objects.create(key="used", expires_at=timezone.now() + timedelta(days=1))


def make_session(person: Person, sid: str, claims: dict[str, Any], **fields: Any) -> Session:
    now = timezone.now()
    times = {"created_at": now, "last_seen_at": now, "expires_at": now + timedelta(hours=1)}
    return Session.objects.create(sid=sid, person=person, claims=claims, **times, **fields)


@dataclass
class Post:
    model: str  # label; of pages that belong to no model, ""
    kind: str  # add, change, delete, the name of an action or of a page of the model's own
    path: str
    data: dict[str, Any]
    form: Any = field(default=None, repr=False)

    def changed(self, **values: Any) -> Post:
        return Post(self.model, self.kind, self.path, {**self.data, **values}, self.form)


# Pages beside Django's own five of each model: which row they are about, and what they are sent.
PAGES: dict[str, dict[str, Any]] = {
    "authgate_policyrevision_rollback": {},
    "authgate_identityprovider_test": {},
    "authgate_tokenissuer_test": {},
    "authgate_person_end_sessions": {},
    "authgate_session_end": {},
    "auth_user_password_change": {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"},
}
# Every consequence that the admin asks about, agreed to: what a post does once it is confirmed is what counts here.
CONFIRMED = {
    "_confirmed": [
        "account", "issuer", "keys", "own access", "person", "provider", "revocation", "sessions", "tokens",
    ]
}  # fmt: skip
_USUAL = ("changelist", "add", "history", "delete", "change")
# Django's own pages of the site. None changes more than the account or the session of whoever asks.
SITE_PAGES = {
    "index", "login", "logout", "password_change", "password_change_done", "autocomplete", "jsi18n", "view_on_site",
    "app_list", "doctor", None,
}  # fmt: skip


def every_post(superuser: Client) -> list[Post]:
    """As the forms show themselves to a superuser, filled in; deletions last, since nothing is left after them."""
    found = (post for model_admin in admin.site._registry.values() for post in _posts(superuser, model_admin))
    posts = [post.changed(**CONFIRMED) for post in found]
    return sorted(posts, key=lambda post: post.kind.startswith("delete"))


def own_pages(model_admin: Any) -> list[str]:
    name = f"{model_admin.opts.app_label}_{model_admin.opts.model_name}"
    usual = {f"{name}_{page}" for page in _USUAL}
    names = [pattern.name for pattern in model_admin.get_urls()]
    return [name for name in names if name is not None and name not in usual]


def actions(model_admin: Any, superuser: User) -> list[str]:
    request = Client().get("/admin/login/").wsgi_request
    request.user = superuser
    return list(model_admin.get_actions(request))


def _posts(superuser: Client, model_admin: Any) -> Iterator[Post]:
    label, rows = model_admin.opts.label, list(model_admin.model._default_manager.order_by("pk"))
    name = f"admin:{model_admin.opts.app_label}_{model_admin.opts.model_name}"
    yield Post(label, "add", reverse(f"{name}_add"), *_filled(superuser, reverse(f"{name}_add")))
    for row in rows:
        path = reverse(f"{name}_change", args=[row.pk])
        yield Post(label, "change", path, *_filled(superuser, path))
    root = User.objects.get(username="root")
    for action in actions(model_admin, root):
        for chosen in ([row.pk for row in rows], *([row.pk] for row in rows)):
            data = {"action": action, "_selected_action": chosen, "post": "yes"}
            yield Post(label, action, reverse(f"{name}_changelist"), data)
    for page in own_pages(model_admin):
        for row in rows:
            yield Post(label, page, reverse(f"admin:{page}", args=[row.pk]), PAGES.get(page, {}))
    for row in rows:
        yield Post(label, "delete", reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"})


def _filled(superuser: Client, path: str) -> tuple[dict[str, Any], Any]:
    page = superuser.get(path)
    if page.status_code != 200 or "adminform" not in (page.context or {}):
        return {}, None
    form = page.context["adminform"].form
    return {name: value for bound in form for name, value in _sent(bound).items()}, form


def _sent(bound: Any) -> dict[str, Any]:
    """What a browser would send of one field; where it is empty and must not be, something that fits."""
    value = bound.value()
    if isinstance(bound.field.widget, forms.MultiWidget):
        parts = enumerate(bound.field.widget.decompress(value))
        return {f"{bound.html_name}_{index}": part for index, part in parts if part is not None}
    if value in (None, "", []) and bound.field.required:
        value = _SAMPLES.get(bound.name) or next(iter(choices_of(bound.field)), "sample")
    if bound.name == "upstream" and not value:
        value = choices_of(bound.field)[0]  # a route leads to a service or redirects
    if bound.name == "public_client":
        value = True  # no secret is filled in, and a new provider needs one of the two
    if value is None or value is False or value == "":
        return {}
    if isinstance(value, list | tuple | models.QuerySet):
        return {bound.html_name: [getattr(item, "pk", item) for item in value]}
    return {bound.html_name: "on" if value is True else value}


_SAMPLES = {
    "targets": "http://127.0.0.1:8", "path": "/sample", "issuer": "https://sample.example.com", "rate": "1/s",
    "password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "username": "sample", "jti": "sample", "audiences": "sample",
}  # fmt: skip


def choices_of(form_field: Any) -> list[Any]:
    if not isinstance(form_field, forms.ChoiceField | forms.ModelChoiceField):
        return []
    values = [getattr(value, "value", value) for value, _ in form_field.choices]
    return [value for value in values if value not in ("", None)]
