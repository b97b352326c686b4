"""Posts to the admin as a client of Django's: with every value there is, and taken back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django import forms
from django.apps import apps
from django.db import transaction
from django.test import Client

from tests.support import powers
from tests.support.operators import Post, choices_of

SAVED = (201, 302)  # every other answer has saved nothing
CLAIM_VALUES = ("hostile", "1", '"1"', "true", "[]")


@contextmanager
def taken_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def send(client: Client, post: Post) -> int:
    signed_in = {name: morsel.value for name, morsel in client.cookies.items()}
    status = client.post(post.path, post.data).status_code
    # A change of the own password makes a new session, which is taken back with the rest.
    client.cookies.load(signed_in)
    assert status < 500, post
    return status


def effective(client: Client, posts: list[Post], *, counts: Callable[[], bool] | None = None) -> list[Post]:
    """Of each model and kind one that changes anything when this client sends it, or what `counts`."""
    found: dict[tuple[str, str], Post] = {}
    before = powers.digest()
    counts = counts or (lambda: powers.digest() != before)
    for post in posts:
        for variant in (post, *hostile(post)):
            if (post.model, post.kind) in found:
                break
            with taken_back():
                status = send(client, variant)
                if status in SAVED and counts():
                    found[post.model, post.kind] = variant
            if status == 403:
                break
    return list(found.values())


def hostile(post: Post) -> Iterator[Post]:
    """The form with each field set to each thing it offers and to what it does not, and with what it does not ask."""
    if post.kind not in ("add", "change"):
        return
    model = apps.get_model(post.model)
    shown = post.form.fields if post.form is not None else {}
    unasked = {field.name: "hostile" for field in model._meta.get_fields() if field.name not in shown}
    flags = {"is_superuser": "on", "is_staff": "on", "is_active": "on", "admin": "superuser", "enabled": "on"}
    yield post.changed(**unasked | {name: value for name, value in flags.items() if name not in shown})
    for name, form_field in list(shown.items())[: 1 if post.model in powers.POWERLESS else None]:
        for value in _values_of(name, form_field):
            yield post.changed(**{name: value})


def _values_of(name: str, form_field: Any) -> list[Any]:
    if isinstance(form_field, forms.BooleanField):
        return ["on", ""]
    choices = choices_of(form_field)
    if isinstance(form_field, forms.MultipleChoiceField | forms.ModelMultipleChoiceField):
        return [choices, []]
    return choices or list(CLAIM_VALUES if name == "value" else CLAIM_VALUES[:1])
