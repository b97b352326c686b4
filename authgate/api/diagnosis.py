"""What a test of a provider or an issuer has found."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.response import Response

from authgate.api.bodies import show
from authgate.oidc.diagnose import Finding as Found
from authgate.policy.schema import Strict


class Finding(Strict, frozen=True):
    ok: bool
    what: str
    detail: str


class Diagnosis(Strict, frozen=True):
    ok: bool
    findings: tuple[Finding, ...]


def answer_findings(found: Iterable[Found]) -> Response:
    findings = tuple(Finding(ok=ok, what=what, detail=detail) for ok, what, detail in found)
    return Response(show(Diagnosis(ok=all(finding.ok for finding in findings), findings=findings)))
