from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from authgate.doctor.finding import Finding, error, ok, warning
from authgate.doctor.registry import Subject, register
from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider
from authgate.policy import revisions
from authgate.system_user import user_name

SOON = timedelta(days=14)
_RENEW = "Renew it: a certificate that has expired is refused."


@register(Subject.CERTIFICATES)
def examine_certificates() -> Iterator[Finding]:
    for kind, model in (("provider", IdentityProvider), ("issuer", TokenIssuer)):
        for entry in model.objects.filter(enabled=True).exclude(ca_certificates=""):
            yield judge_pem(f"CA of {kind} {entry.slug}", entry.ca_certificates.encode(), "Enter the new one in admin.")
    for name, upstream in revisions.live_document().upstreams.items():
        if upstream.tls.ca_file:
            yield judge_file(f"CA of upstream {name}", Path(upstream.tls.ca_file))
        if upstream.tls.client_cert_file:
            yield judge_file(f"client certificate of upstream {name}", Path(upstream.tls.client_cert_file), first=True)


def judge_file(name: str, path: Path, *, first: bool = False) -> Finding:
    """`first`: the others of the file are its chain."""
    try:
        if path.exists() and not path.is_file():
            return error(name, f"{str(path)!r} is no file", "Put the file there, readable for the gateway's user.")
        content = path.read_bytes()
    except PermissionError:
        text = f"{str(path)!r} cannot be read by the user {user_name()}, and so not be examined"
        return warning(name, text, "Run manage.py doctor as a user who can read it, or let a group read it.")
    except OSError as problem:
        return error(name, f"{str(path)!r}: {problem.strerror}", "Put the file there, readable for the gateway's user.")
    return judge_pem(name, content, f"{_RENEW} It is {path}.", first=first)


def judge_pem(name: str, content: bytes, remedy: str, *, first: bool = False) -> Finding:
    try:
        found = x509.load_pem_x509_certificates(content)[: 1 if first else None]
    except ValueError:
        return error(name, "holds no certificate in PEM", remedy)
    # A bundle of authorities goes on while one of them does.
    ends = [certificate.not_valid_after_utc for certificate in found]
    return judge_end(name, max(ends), remedy)


def judge_end(name: str, end: datetime, remedy: str = _RENEW) -> Finding:
    left = end - datetime.now(UTC)
    if left <= timedelta():
        return error(name, f"expired on {end:%Y-%m-%d %H:%M} UTC", remedy)
    text = f"valid until {end:%Y-%m-%d}, for {left.days} days"
    return warning(name, text, remedy) if left < SOON else ok(name, text)
