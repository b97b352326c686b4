"""What is wrong with an upstream: its targets, and how requests are spread over them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from authgate.policy.errors import did_you_mean
from authgate.policy.schema import HealthCheck, Upstream, UpstreamTls
from authgate.policy.targets import name_problem, target_problem

MAX_TARGETS = 1000
MAX_WEIGHT = 100
MAX_RETRIES = 10
MAX_CONNECTIONS = 100_000
MAX_QUEUE = 10_000
MAX_SECONDS = 3600
MAX_PATH = 1000
MAX_ROW = 100  # answers in a row

Problems = Iterator[tuple[str, str]]  # field, message

_PATH = re.compile(r"/[!-\"$-~]*")  # visible ASCII without "#"
_FILE = re.compile(r"/[^\x00-\x1f\x7f]{1,999}")


def upstream_problems(upstream: Upstream) -> Problems:
    yield from _check_targets(upstream)
    for target, weight in upstream.weights.items():
        if target not in upstream.targets:
            yield "weights", f"{target!r} is not one of the targets{did_you_mean(target, upstream.targets)}"
        elif not 1 <= weight <= MAX_WEIGHT:
            yield "weights", f"{target!r}: must be from 1 to {MAX_WEIGHT}"
    yield from _check_range("retries", upstream.retries, 0, MAX_RETRIES)
    if upstream.connections is not None:
        yield from _check_range("connections", upstream.connections, 1, MAX_CONNECTIONS)
    yield from _check_range("queue", upstream.queue, 0, MAX_QUEUE)
    yield from _check_seconds("queue_timeout", upstream.queue_timeout)
    if upstream.health != HealthCheck():
        yield from _check_health(upstream.health)
    if upstream.tls != UpstreamTls():
        yield from _check_tls(upstream)


def _check_targets(upstream: Upstream) -> Problems:
    if not upstream.targets:
        yield "targets", "at least one target is needed"
    if len(upstream.targets) > MAX_TARGETS:
        yield "targets", f"at most {MAX_TARGETS} targets"
    for target in upstream.targets:
        if problem := target_problem(target):
            yield "targets", f"{target!r}: {problem}"


def _check_health(health: HealthCheck) -> Problems:
    if not health.path:
        yield "health.path", "the path of the health check is needed, such as /health"
    elif len(health.path) > MAX_PATH or not _PATH.fullmatch(health.path):
        yield "health.path", f"must begin with / and have at most {MAX_PATH} visible ASCII characters, no #"
    for status in health.status:
        if not 200 <= status <= 599:
            yield "health.status", f"{status} is not a status from 200 to 599"
    yield from _check_seconds("health.interval", health.interval, least=0.1)
    yield from _check_seconds("health.timeout", health.timeout)
    yield from _check_range("health.healthy_after", health.healthy_after, 1, MAX_ROW)
    yield from _check_range("health.unhealthy_after", health.unhealthy_after, 1, MAX_ROW)


def _check_tls(upstream: Upstream) -> Problems:
    tls = upstream.tls
    if not any(target.startswith("https://") for target in upstream.targets):
        yield "tls", "has no effect without a target that begins with https://"
    for field in ("ca_file", "client_cert_file", "client_key_file"):
        # Whether it can be read is the business of the machine that connects.
        if (path := getattr(tls, field)) and not _FILE.fullmatch(path):
            yield f"tls.{field}", "must be the absolute path of a PEM file"
    if bool(tls.client_cert_file) != bool(tls.client_key_file):
        missing = "client_key_file" if tls.client_cert_file else "client_cert_file"
        yield f"tls.{missing}", "a client certificate needs both client_cert_file and client_key_file"
    if tls.server_name and (problem := name_problem(tls.server_name)):
        yield "tls.server_name", problem


def _check_range(field: str, value: int, least: int, most: int) -> Problems:
    if not least <= value <= most:
        yield field, f"must be from {least} to {most}"


def _check_seconds(field: str, value: float, least: float = 0.0) -> Problems:
    if not (least <= value <= MAX_SECONDS and value > 0):  # also true of NaN
        yield field, f"must be {f'at least {least:g}' if least else 'more than 0'} and at most {MAX_SECONDS} seconds"
