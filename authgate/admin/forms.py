from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django import forms
from django.db import models, transaction

from authgate.admin.fields import CorsField, MapField, RulesField, WordsField
from authgate.admin.publishing import shorten
from authgate.admin.typed import ModelForm
from authgate.admin.wording import in_words, sentence
from authgate.models.people import IdentityProvider
from authgate.models.policy import RateLimit, Role, RoleGrant, Route
from authgate.policy import revisions
from authgate.policy.errors import Place, PolicyError, PolicyInvalid
from authgate.policy.powers import Actor

M = TypeVar("M", bound=models.Model)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
TIMEOUTS = ("connect_timeout", "response_timeout", "idle_timeout")
ROUTE_TIMEOUTS = (*TIMEOUTS, "total_timeout")
TIMEOUT_FIELDS = {f"timeouts.{name.removesuffix('_timeout')}": name for name in ROUTE_TIMEOUTS}


class LinesField(forms.CharField):
    """A list of texts, one per line."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class ClaimValueField(forms.CharField):
    """A text as it is; a whole number, true, false or a text in quotes as in JSON."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        return self.to_python(data)

    def prepare_value(self, value: Any) -> Any:
        plain = value is None or (isinstance(value, str) and _scalar(value) == value and _is_encodable(value))
        return value if plain else json.dumps(value)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return _scalar(text) if text else None

    def validate(self, value: Any) -> None:
        super().validate(value)
        # JSON can spell half a surrogate pair, which neither a database nor the page could hold.
        if isinstance(value, str) and not _is_encodable(value):
            raise forms.ValidationError("Half of a surrogate pair is no character.")

    def has_changed(self, initial: Any, data: Any) -> bool:
        value = self.to_python(data)
        return (type(initial), initial) != (type(value), value)


class PolicyForm(ModelForm[M]):
    """Refuses what the one validator refuses, beside the field that caused it."""

    actor: ClassVar[Actor]  # set for each request, by PolicyAdmin.get_form
    section: ClassVar[str]
    fields_of_places: ClassVar[Mapping[str, str]] = {}
    # What the page was made from: an edit of something else is not to be lost under this one.
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._now = "" if self.instance._state.adding else state_of(self.instance)
        self.initial["seen"] = self._now

    def clean_seen(self) -> str:
        seen: str = self.cleaned_data["seen"]
        if seen and self._now and seen != self._now:
            newest = revisions.latest()
            by = f" (revision {newest.number} is by {newest.author})" if newest else ""
            self.add_error(
                None,
                f"Somebody has changed this since you opened the page{by}. Nothing was saved: "
                "open it again to see what it is now, then make your change.",
            )
        return seen

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        faults, lines, mine = self._faults()
        own = [fault for fault in faults if fault.place[: len(mine)] == mine]
        for fault in own:
            self._show(fault.place[len(mine) :], in_words(fault.message))
        if not own:
            # Often only the other side of a fault of this object's own, such as two routes that tie.
            for line in shorten(lines):
                self.add_error(None, line)

    def _show(self, place: Place, message: str) -> None:
        """Within a field that holds a map or a list, the message names what in it is at fault."""
        field = self._field_of(place)
        inner = place[1:] if field is not None and field == str(place[0] if place else "") else ()
        self.add_error(field, PolicyError(inner, message).__str__())

    def place(self) -> Place:
        """Where this object stands in the document."""
        return (self.section, self.instance.name)  # type: ignore[attr-defined]

    def _faults(self) -> tuple[list[PolicyError], list[str], Place]:
        """Of the policy as the rows would make it: they are saved, compiled, validated and put back."""
        pk, adding = self.instance.pk, self.instance._state.adding
        try:
            with transaction.atomic():
                self.instance.save()
                self._save_m2m()  # type: ignore[attr-defined]  # the stubs leave it out
                faults, place = _faults_of_rows(self.actor), self.place()
                lines = [sentence(fault) for fault in faults]  # while a new row has its place
                transaction.set_rollback(True)
        finally:
            self.instance.pk, self.instance._state.adding = pk, adding
        return faults, lines, place

    def _field_of(self, place: Place) -> str | None:
        field = self.fields_of_places.get(".".join(map(str, place)), str(place[0]) if place else "name")
        return field if field in self.fields else None


class RoleForm(PolicyForm[Role]):
    section = "roles"


class RateLimitForm(PolicyForm[RateLimit]):
    section = "rate_limits"


class RoleGrantForm(PolicyForm[RoleGrant]):
    section = "grants"
    fields_of_places = {
        "when": "operator", "when.claim": "claim", "when.contains": "value", "when.equals": "value",
        "when.provider": "provider",
    }  # fmt: skip
    value = ClaimValueField(
        required=False,
        help_text="What the claim must contain or equal: a string, an integer, true or false. "
        'A string that looks like a number goes in quotes: "42".',
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "provider" in self.fields:
            self.fields["provider"].widget = forms.Select(choices=_providers(self.instance.provider))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("operator") == RoleGrant.Operator.AUTHENTICATED:
            for name in ("claim", "value"):
                if cleaned.get(name) not in (None, ""):
                    self.add_error(name, "Has no effect for everybody signed in: leave it empty.")
        return cleaned

    def place(self) -> Place:
        return (self.section, RoleGrant.objects.filter(pk__lt=self.instance.pk).count())


class RouteForm(PolicyForm[Route]):
    section = "routes"
    fields_of_places = TIMEOUT_FIELDS
    methods = forms.MultipleChoiceField(
        choices=[(name, name) for name in METHODS],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="None for all. GET includes HEAD.",
    )
    pass_headers = LinesField(required=False, help_text=Route._meta.get_field("pass_headers").help_text)
    identity_headers = MapField(required=False, help_text=Route._meta.get_field("identity_headers").help_text)
    security_headers = MapField(required=False, help_text=Route._meta.get_field("security_headers").help_text)
    request_headers = MapField(
        required=False, help_text=Route._meta.get_field("request_headers").help_text, is_nullable=True
    )
    response_headers = MapField(
        required=False, help_text=Route._meta.get_field("response_headers").help_text, is_nullable=True
    )
    redirect = MapField(required=False, help_text=Route._meta.get_field("redirect").help_text, is_nullable=True)
    cors = CorsField(label="CORS", required=False, help_text=Route._meta.get_field("cors").help_text, is_nullable=True)
    issuers = WordsField(required=False, help_text=Route._meta.get_field("issuers").help_text)
    scopes = WordsField(required=False, help_text=Route._meta.get_field("scopes").help_text)
    allow = RulesField(required=False, help_text=Route._meta.get_field("allow").help_text)
    deny = RulesField(required=False, help_text=Route._meta.get_field("deny").help_text)
    other_methods = forms.CharField(required=False, help_text="Separated by spaces, such as PROPFIND REPORT.")

    class Meta:
        widgets = {"roles": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "paths" in self.fields:
            self.fields["paths"].required = False  # what a form leaves out stays as it is
        if "methods" in self.fields:
            others = [name for name in self.instance.methods if name not in METHODS]
            self.initial.setdefault("other_methods", " ".join(map(str, others)))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        cleaned["methods"] = [*cleaned.get("methods", ()), *cleaned.pop("other_methods", "").split()]
        return cleaned


def state_of(row: models.Model) -> str:
    """The same for the same values, of its roles too."""
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    many = {
        field.name: sorted(getattr(row, field.name).values_list("pk", flat=True)) for field in row._meta.many_to_many
    }
    return hashlib.sha256(json.dumps([values, many], sort_keys=True).encode()).hexdigest()


def _providers(chosen: str) -> list[tuple[str, str]]:
    """Those there are, and the chosen one, which may come later or have gone."""
    slugs = set(IdentityProvider.objects.values_list("slug", flat=True)) | ({chosen} - {""})
    return [("", "any, or with a bearer token"), *((slug, slug) for slug in sorted(slugs))]


def _scalar(text: str) -> str | int | bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str | int) else text


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _faults_of_rows(actor: Actor) -> list[PolicyError]:
    try:
        revisions.compile_for(actor)
    except PolicyInvalid as invalid:
        return list(invalid.errors)
    return []
