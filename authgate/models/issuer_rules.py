"""What an operator may enter for an issuer of tokens. Admin, command and REST refuse the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from authgate.models.provider_rules import pem_problem, url_problem

ASYMMETRIC = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
MAPPED = ("sub", "email", "name", "groups", "roles")
# What discovery would say, as messages name it.
KEYS, ENDPOINT = "the JWKS URL or the keys", "the introspection endpoint"
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 3.3
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,400}")

Problems = Iterator[tuple[str, str]]  # field, message


def find_problems(issuer: Any) -> Problems:
    """Nothing of it is known to have the right form, or even type."""
    if not _TEXT.fullmatch(issuer.issuer) or issuer.issuer != issuer.issuer.strip():
        yield "issuer", "must have 1 to 400 characters, no control characters, and no space around it"
    yield from _check_addresses(issuer)
    yield from _check_lists(issuer)
    yield from _check_claims(issuer)
    if issuer.pasted_keys and (problem := _keys_problem(issuer.pasted_keys)):
        yield "pasted_keys", problem
    if issuer.ca_certificates and (problem := pem_problem(issuer.ca_certificates)):
        yield "ca_certificates", problem
    yield from _check_introspection(issuer)


def _check_addresses(issuer: Any) -> Problems:
    for name in ("jwks_url", "introspection_endpoint", "poll_endpoint"):
        if (url := getattr(issuer, name)) and (problem := url_problem(url)):
            yield name, problem
    if issuer.pasted_keys and issuer.jwks_url:
        yield "pasted_keys", "leave this or the JWKS URL empty: keys come from one place"
    if (wanted := _asked_of_discovery(issuer)) and (problem := url_problem(issuer.issuer)):
        yield "issuer", f"{problem}: its discovery document is fetched there. Or give {' and '.join(wanted)}"


def needs_discovery(issuer: Any) -> bool:
    return bool(_asked_of_discovery(issuer))


def _asked_of_discovery(issuer: Any) -> list[str]:
    needs_keys = issuer.strategy != "introspection" and not (issuer.jwks_url or issuer.pasted_keys)
    needs_endpoint = issuer.strategy != "jwt" and not issuer.introspection_endpoint
    return [*([KEYS] if needs_keys else []), *([ENDPOINT] if needs_endpoint else [])]


def _check_lists(issuer: Any) -> Problems:
    if not _are_texts(issuer.audiences) or not issuer.audiences:
        yield "audiences", "must name at least one: without it, tokens for any service would be taken"
    elif not all(_TEXT.fullmatch(audience) and audience.strip() == audience for audience in issuer.audiences):
        yield "audiences", "each must have 1 to 400 characters, no control characters, and no space around it"
    if not _are_texts(issuer.algorithms) or not issuer.algorithms:
        yield "algorithms", "must name at least one"
    else:
        for algorithm in issuer.algorithms:
            if algorithm not in ASYMMETRIC:
                yield "algorithms", f"{algorithm!r} is not one of {', '.join(ASYMMETRIC)}"
    if not _are_texts(issuer.required_scopes):
        yield "required_scopes", "must be a list of words"
    else:
        for scope in issuer.required_scopes:
            if not _SCOPE.fullmatch(scope):
                yield "required_scopes", f"{scope!r} is not a scope"


def _check_claims(issuer: Any) -> Problems:
    mapping, required = issuer.claim_mapping, issuer.required_claims
    if not isinstance(mapping, dict):
        yield "claim_mapping", "must be a map"
    else:
        for name, where in mapping.items():
            if name not in MAPPED:
                yield "claim_mapping", f"{name!r} is not one of {', '.join(MAPPED)}"
            elif not isinstance(where, str) or not _TEXT.fullmatch(where) or not where.strip():
                yield "claim_mapping", f"{name} must be the name of a claim, or a path such as realm_access.roles"
    if not isinstance(required, dict):
        yield "required_claims", "must be a map"
    else:
        for where, value in required.items():
            if not where.strip() or not isinstance(value, str | int | bool):
                yield "required_claims", f"{where!r} must be a claim with a text, a whole number, true or false"


def _keys_problem(pasted: str) -> str | None:
    try:
        document = json.loads(pasted)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list) or not document["keys"]:
        return 'must be a JSON object with a list of "keys"'
    if any(isinstance(key, dict) and ("d" in key or "k" in key) for key in document["keys"]):
        return "has a private or a secret key: paste the public ones alone"
    return None


def _check_introspection(issuer: Any) -> Problems:
    if issuer.strategy == "jwt":
        return
    if not _TEXT.fullmatch(issuer.client_id):
        yield "client_id", "is needed to ask about tokens"
    if issuer.client_authentication != "private_key_jwt" and not issuer.sealed_client_secret:
        yield "client_authentication", "needs a client secret"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
