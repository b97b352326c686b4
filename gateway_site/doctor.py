"""What the doctor cannot see from its own floor: the targets of upstreams, and how the gateway was last served."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import uvloop
from django.conf import settings

from authgate.doctor.certificates import judge_end, judge_file
from authgate.doctor.finding import Finding, error, ok, warning
from authgate.doctor.registry import Further, Subject, register
from authgate.policy import revisions
from authgate.policy.schema import Upstream
from authgate.policy.table import DEFAULT_TIMEOUTS
from gateway_site import served
from gateway_site.env import EnvError
from proxy.upstream import diagnose


def try_upstream(upstream: Upstream) -> list[diagnose.Finding]:
    seconds = upstream.timeouts.connect or DEFAULT_TIMEOUTS.connect or 0
    findings: list[diagnose.Finding] = uvloop.run(diagnose.diagnose(upstream, seconds))  # as the gateway itself
    return findings


@register(Subject.UPSTREAMS)
def examine_upstreams() -> Iterator[Further]:
    for name, upstream in revisions.live_document().upstreams.items():
        yield Further(name, partial(_examine, name, upstream))


def _examine(name: str, upstream: Upstream) -> Iterator[Finding]:
    for found in try_upstream(upstream):
        which = f"{name}: {found.target}"
        if not found.ok:
            yield error(which, found.detail, found.advice or f"Correct the upstream; manage.py upstream check {name}")
        elif found.status >= 500:
            yield warning(which, found.detail, "See the log of the service.")
        else:
            yield ok(which, found.detail)
        if found.certificate_end is not None:
            yield judge_end(f"{which}, certificate", found.certificate_end, "Renew it, or tell its operator.")


@register(Subject.CERTIFICATES)
def examine_served_certificates() -> Iterator[Finding]:
    """Those of `serve`, where TLS is served here."""
    try:
        last = served.read("AUTHGATE_PUBLIC_URL", settings.AUTHGATE_DATA_DIR)
    except EnvError as problem:
        yield error("of serve", str(problem), "Remove that file; serve writes it anew.")
        return
    for cert, key in last.certificates if last is not None else ():
        yield judge_file(f"of serve, {cert.name}", cert, first=True)
        yield from _judge_key(key)


def _judge_key(key: Path) -> Iterator[Finding]:
    try:
        mode = key.stat().st_mode
    except PermissionError:
        return  # its certificate is beside it, as a rule
    except OSError as problem:
        yield error(
            f"key {key.name}", f"{str(key)!r}: {problem.strerror}", "Put the file there, for the gateway's user."
        )
        return
    if mode & 0o007:
        yield warning(f"key {key.name}", f"{str(key)!r} is open to other users of this machine", f"chmod o= {key}")
