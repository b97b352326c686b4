"""Subject identifiers of security events (RFC 9493, Shared Signals 1.0): read, and not looked up."""

from __future__ import annotations

from typing import Any, NamedTuple

_PARTS = {"iss_sub": ("iss", "sub"), "email": ("email",), "opaque": ("id",), "account": ("uri",)}
_MAX_TEXT = 2048
_ACCOUNT = "acct:"


class SubjectUnreadable(ValueError):
    pass


class SubjectId(NamedTuple):
    """Whom an event is about, by one of these; all are empty for a format that names nobody here."""

    format: str
    issuer: str = ""
    subject: str = ""  # as the issuer calls somebody
    email: str = ""
    opaque: str = ""
    session: str = ""  # as the issuer calls a session, where only that is meant


def read_subject(value: object) -> SubjectId:
    """Raises SubjectUnreadable: it is no identifier at all."""
    if not isinstance(value, dict):
        raise SubjectUnreadable("it names no subject")
    kind = _format_of(value)
    if kind == "complex":
        return _read_complex(value)
    parts = [_text(value, name) for name in _PARTS.get(kind, ())]
    if kind == "iss_sub":
        return SubjectId(kind, issuer=parts[0], subject=parts[1])
    if kind == "email":
        return SubjectId(kind, email=parts[0])
    if kind == "opaque":
        return SubjectId(kind, opaque=parts[0])
    if kind == "account":
        return SubjectId(kind, email=_address_of(parts[0]))
    return SubjectId(kind)


def _format_of(value: dict[str, Any]) -> str:
    # Drafts said `subject_type`, and wrote "iss-sub".
    kind = value.get("format", value.get("subject_type"))
    if kind is None and ("user" in value or "session" in value):
        return "complex"  # to which drafts gave no name
    if not isinstance(kind, str) or not 0 < len(kind) <= 64:
        raise SubjectUnreadable("its subject has no format")
    return kind.replace("-", "_")


def _read_complex(value: dict[str, Any]) -> SubjectId:
    """Several members narrow each other down: to a device or a tenant of this user, of which nothing is known here. So
    all of the user's is meant; without a user, the session.
    """
    if "user" in value:
        return _read_member(value["user"])
    if "session" not in value:
        return SubjectId("complex")
    session = _read_member(value["session"])
    return SubjectId("complex", session=session.opaque)


def _read_member(value: object) -> SubjectId:
    if isinstance(value, dict) and _format_of(value) == "complex":
        raise SubjectUnreadable("its subject is complex inside a complex one")
    return read_subject(value)


def _address_of(uri: str) -> str:
    """Of an `acct:` URI (RFC 7565): whether it is one's address, the provider has said at sign-in."""
    if not uri.startswith(_ACCOUNT):
        raise SubjectUnreadable("its subject is no acct: URI")
    return uri.removeprefix(_ACCOUNT)


def _text(value: dict[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT or not text.isprintable():
        raise SubjectUnreadable(f"its subject has no {name}")
    return text
