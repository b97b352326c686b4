"""The shapes in the OpenAPI document, from the structs that bodies are read into and objects are shown from."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from authgate.api import (
    diagnosis,
    issuers,
    keys,
    people,
    policy,
    providers,
    publishing,
    revisions,
    revocations,
    service_tokens,
)
from authgate.api.schema import FieldError, ProblemDetails, Refusal
from authgate.policy.schema import PolicyDocument
from authgate.state.live_upstreams import UpstreamHealth

_TEMPLATE = "#/components/schemas/{name}"
_STRUCTS = (
    ProblemDetails, FieldError, Refusal, PolicyDocument, publishing.Publication, revisions.Revision,
    revisions.Difference, diagnosis.Diagnosis, providers.Provider, providers.ProviderInput, issuers.Issuer,
    issuers.IssuerInput, issuers.IssuerTestInput, people.PersonShown, people.PersonChange, people.SessionShown,
    people.Ended, keys.Key, keys.NewKey, service_tokens.ServiceTokenShown,
    service_tokens.NewServiceToken, service_tokens.MadeServiceToken, revocations.RevokedTokenShown,
    revocations.TokenToRevoke, revocations.RevocationShown, revocations.NewRevocation, revocations.SessionsEnded,
    UpstreamHealth,
)  # fmt: skip
_NAMES = {
    "PersonShown": "Person", "SessionShown": "Session", "ServiceTokenShown": "ServiceToken",
    "RevokedTokenShown": "RevokedToken", "RevocationShown": "Revocation",
}  # fmt: skip
_NAME = {"type": "string"}
Schema = dict[str, Any]


def components() -> dict[str, Schema]:
    _, found = msgspec.json.schema_components(_STRUCTS, ref_template=_TEMPLATE)
    found = {_NAMES.get(name, name): schema for name, schema in found.items()}
    found["PolicyInput"] = {**found["PolicyDocument"], "title": "PolicyInput", "required": ["version"]}
    for section in policy.SECTIONS.values():
        found |= _named(section.component, found[section.component])
    found["RoleGrant"] = _with(found["Grant"], "RoleGrant", {"id": _NAME})
    found["RevisionWithPolicy"] = _with(
        found["Revision"], "RevisionWithPolicy", {"policy": {"$ref": _TEMPLATE.format(name="PolicyDocument")}}
    )
    return {name: _described(schema) for name, schema in found.items()}


def _named(name: str, schema: Schema) -> dict[str, Schema]:
    """As it is sent, where the address has the name; in a policy; and as it is shown, with all of its fields."""
    sent = _with(schema, f"{name}Input", {"name": _NAME}, required=False)
    sent["required"] = [field for field in schema["required"] if field != "name"]
    shown = _with(schema, f"Named{name}", {"name": _NAME})
    return {f"{name}Input": sent, f"Named{name}": {**shown, "required": list(shown["properties"])}}


def _with(schema: Schema, title: str, properties: Schema, *, required: bool = True) -> Schema:
    both = copy.deepcopy(schema)
    both["title"] = title
    both["properties"] = {**properties, **both["properties"]}
    both["required"] = [*properties, *both["required"]] if required else both["required"]
    return both


def _described(schema: Schema) -> Schema:
    words = schema.get("description")
    return {**schema, "description": " ".join(words.split())} if words else schema
