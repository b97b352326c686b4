"""Form fields for what is stored as lists and maps."""

from __future__ import annotations

from typing import Any

from django import forms


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
