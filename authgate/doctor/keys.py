from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils import timezone

from authgate.authn.keys import KeyUnusable
from authgate.doctor import configuration
from authgate.doctor.finding import Finding, error, ok, warning
from authgate.doctor.registry import Subject, register
from authgate.models.trust import SigningKey
from authgate.state.key_files import file_keys
from authgate.state.signing_keys import find_current, in_files, signer_of

OLD = timedelta(days=365)


@register(Subject.KEYS)
def examine_keys() -> Iterator[Finding]:
    yield from configuration.of_keys()
    for purpose in SigningKey.Purpose:
        yield _file(purpose) if in_files(purpose) else _row(purpose)


def _row(purpose: SigningKey.Purpose) -> Finding:
    signer = signer_of(find_current(purpose), timezone.now())
    if signer is None:
        return ok(purpose.value, "there is no key yet; the gateway makes one when it starts")
    return _age(purpose, signer.kid, timezone.now() - signer.signs_from, f"manage.py keys rotate --purpose {purpose}")


def _file(purpose: SigningKey.Purpose) -> Finding:
    try:
        kid = file_keys()[0].kid
        made = datetime.fromtimestamp(settings.AUTHGATE_SIGNING_KEY_FILE[0].stat().st_mtime, UTC)
    except (KeyUnusable, OSError) as problem:
        return error(purpose.value, str(problem), "Correct AUTHGATE_SIGNING_KEY_FILE, or the file.")
    return _age(purpose, kid, timezone.now() - made, "Replace the file as docs/keys.md says.")


def _age(purpose: SigningKey.Purpose, kid: str, age: timedelta, remedy: str) -> Finding:
    text = f"{kid} signs, and is {max(age.days, 0)} days old"
    return warning(purpose.value, text, remedy) if age > OLD else ok(purpose.value, text)
