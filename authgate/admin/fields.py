"""Form fields for what is stored as lists and maps, and for the token that two forms have."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from authgate.oidc import event_endpoint
from authgate.policy import yaml_text
from authgate.policy.errors import PolicyInvalid


class WordsField(forms.CharField):
    """A list of words, separated by spaces or lines."""

    def prepare_value(self, value: Any) -> Any:
        return " ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return (super().to_python(value) or "").split()

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class MappingField(forms.CharField):
    """`name = claim` on each line."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name} = {claim}" for name, claim in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        pairs = [line.partition("=") for line in (super().to_python(value) or "").splitlines() if line.strip()]
        return {name.strip(): claim.strip() for name, _, claim in pairs}

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or {}) != self.to_python(data))


class WeightsField(MappingField):
    """`target = number` on each line."""

    def to_python(self, value: Any) -> Any:
        weights = super().to_python(value)
        for target, number in weights.items():
            if not (number.isascii() and number.isdecimal()):
                raise forms.ValidationError(f"{target}: write the target, “=” and a number.")
        return {target: int(number) for target, number in weights.items()}

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return super().has_changed(initial, data)
        except forms.ValidationError:
            return True


class NumbersField(WordsField):
    """A list of whole numbers, separated by spaces or lines."""

    def to_python(self, value: Any) -> Any:
        words = super().to_python(value)
        if not all(word.isascii() and word.isdecimal() for word in words):
            raise forms.ValidationError("Only whole numbers, separated by spaces.")
        return [int(word) for word in words]

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return super().has_changed(initial, data)
        except forms.ValidationError:
            return True


class RulesField(forms.CharField):
    """A list of maps, as a policy file has it."""

    widget = forms.Textarea(attrs={"rows": 3, "cols": 80, "spellcheck": "false"})
    kind: type[Any] = list
    fault = "Must be a list: begin each rule with a hyphen."

    def _empty(self) -> Any:
        return self.kind()

    def prepare_value(self, value: Any) -> Any:
        return (yaml_text.write(value) if value else "") if isinstance(value, self.kind) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        try:
            parsed = yaml_text.parse(text) if text else self.kind()
        except PolicyInvalid as invalid:
            raise forms.ValidationError([str(error) for error in invalid.errors]) from invalid
        if not isinstance(parsed, self.kind):
            raise forms.ValidationError(self.fault)
        return parsed or self._empty()

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or self._empty()) != self.to_python(data))
        except forms.ValidationError:
            return True


class MapField(RulesField):
    """A map, as a policy file has it."""

    kind = dict

    def __init__(self, *, is_nullable: bool = False, **options: Any) -> None:
        """`is_nullable`: an empty one is None."""
        super().__init__(**options)
        self._is_nullable = is_nullable

    def _empty(self) -> Any:
        return None if self._is_nullable else {}

    fault = "Must be a map: name: value on each line, or {name: value, …}."


class CorsField(MapField):
    """A map, or the one word."""

    fault = "Must be a map such as {origins: ['https://app.example.com']}, or: pass"

    def to_python(self, value: Any) -> Any:
        return "pass" if isinstance(value, str) and value.strip() == "pass" else super().to_python(value)


def token_field() -> forms.CharField:
    """`poll_token` of whoever may transmit events."""
    return forms.CharField(
        label="event poll token",
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Sent there as a Bearer token. Never shown again. Empty: stays as it is; without the endpoint it is "
        "removed.",
    )


def take_poll_token(form: forms.ModelForm[Any]) -> None:
    """Call it in the form's `clean`."""
    transmitter, cleaned = form.instance, form.cleaned_data
    transmitter.slug = transmitter.slug or cleaned.get("slug", "")
    transmitter.poll_endpoint = cleaned.get("poll_endpoint", "")
    try:
        event_endpoint.set_token(transmitter, cleaned.get("poll_token", ""))
    except ValidationError as error:
        form.add_error(None, error)
