"""The text that Prometheus reads: the numbers of all workers of this machine, added up."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from operator import add

import django
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from authgate.observe import metrics
from authgate.observe.metrics import BOUNDS, Named
from authgate.policy.schema import PolicyDocument
from authgate.state.live_upstreams import health_of
from authgate.state.snapshot import current
from authgate.tally import REFUSED, Key
from authgate.version import VERSION

Numbers = Mapping[Key, tuple[int, ...]]
_MICRO = 1_000_000


def render(accept: str) -> tuple[bytes, str]:
    """The text, and its media type: OpenMetrics where it is accepted. For a thread: there may be thousands of lines."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshot = current()
        document = snapshot.document if snapshot is not None else None
        workers = metrics.read()
        named = metrics.names_of(document)
        yield from _counted(_summed(workers, named))
        yield from _workers(workers)
        yield from _upstreams(document, named)
        yield _build()


def _summed(workers: Sequence[Numbers], named: Named) -> Numbers:
    total: dict[Key, tuple[int, ...]] = {}
    for numbers in workers:
        for key, values in numbers.items():
            if key[0] != metrics.WORKER and named.has(key):
                total[key] = tuple(map(add, total[key], values)) if key in total else values
    return dict(sorted(total.items()))


# -- what is counted ------------------------------------------------------------------------------------------------

_COUNTERS = (
    (metrics.REQUESTS, "authgate_requests", "Requests that have ended", ("route", "status", "reason")),
    (
        metrics.REFUSED_EARLY, "authgate_server_refusals",
        "Refused by the server: connections, and what is no whole request", ("reason",),
    ),
    (metrics.CUT, "authgate_responses_cut", "Responses that did not reach their end", ("cause",)),
    (metrics.LIMITED, "authgate_rate_limited", "Requests refused by a rate limit of the policy", ("limit",)),
    (
        metrics.EJECTED, "authgate_upstream_ejections", "How often a target was left out after failures",
        ("upstream", "target"),
    ),
    (metrics.RETRIED, "authgate_upstream_retries", "Requests sent once more", ("upstream",)),
    (metrics.CACHE, "authgate_cache_lookups", "Look-ups in the caches of the request path", ("cache", "result")),
    (metrics.SIGN_IN, "authgate_sign_ins", "Sign-ins at identity providers, by outcome", ("outcome",)),
    (metrics.STARTS, "authgate_worker_starts", "Workers started since the server began", ()),
    (REFUSED[0], "authgate_series_refused", "Series that found no room and are not counted", ()),
)  # fmt: skip
_HISTOGRAMS = (
    (
        metrics.DURATION, "authgate_request_duration_seconds",
        "From the head of a request to the end of its response; tunnels are left out", ("route",),
    ),
    (
        metrics.ANSWER, "authgate_upstream_response_seconds",
        "From the decision to the head of the service's response, connecting included", ("upstream",),
    ),
)  # fmt: skip


def _counted(total: Numbers) -> Iterator[Metric]:
    by_kind: defaultdict[str, list[tuple[Key, tuple[int, ...]]]] = defaultdict(list)
    for key, numbers in total.items():
        by_kind[key[0]].append((key[1:], numbers))
    for kind, name, words, labels in _COUNTERS:
        counter = CounterMetricFamily(name, words, labels=labels)
        for values, numbers in by_kind[kind]:
            counter.add_metric(values, numbers[0])
        yield counter
    for kind, name, words, labels in _HISTOGRAMS:
        histogram = HistogramMetricFamily(name, words, labels=labels)
        for values, numbers in by_kind[kind]:
            histogram.add_metric(values, _buckets(numbers), numbers[-1] / _MICRO)
        yield histogram


def _buckets(numbers: tuple[int, ...]) -> list[tuple[str, float]]:
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(numbers[:-1])), strict=True))


# -- how the workers are --------------------------------------------------------------------------------------------


def _workers(workers: Sequence[Numbers]) -> Iterator[Metric]:
    """Of those that live."""
    now = time.time()
    lives = {
        str(place): gauge
        for place, numbers in enumerate(workers)
        if abs(now - (gauge := partial(_gauge, numbers))("beat") / _MICRO) < metrics.FRESH_SECONDS
    }
    in_flight = GaugeMetricFamily("authgate_in_flight", "Requests at services, by state", labels=("state",))
    for state in metrics.STATES:
        in_flight.add_metric((state,), sum(gauge(state) for gauge in lives.values()))
    yield in_flight
    ages = [gauge("age") / _MICRO for gauge in lives.values()]
    words = "Seconds since every worker last found that it decides by all that is in the database"
    yield GaugeMetricFamily("authgate_snapshot_age_seconds", words, value=max(ages, default=0.0))
    yield GaugeMetricFamily("authgate_workers", "Workers that serve", value=len(lives))
    for name, family, words, unit in (
        ("ready", "authgate_worker_ready", "Whether the worker serves by a policy that is up to date", 1),
        ("revision", "authgate_policy_revision", "The revision of the policy by which the worker decides", 1),
        ("lag", "authgate_worker_loop_lag_seconds", "How late the event loop was at worst, in the last second", _MICRO),
    ):
        metric = GaugeMetricFamily(family, words, labels=("worker",))
        for worker, gauge in lives.items():
            metric.add_metric((worker,), gauge(name) / unit)
        yield metric
    yield from _processes({worker: gauge("pid") for worker, gauge in lives.items()})


def _gauge(numbers: Numbers, name: str) -> int:
    return numbers.get((metrics.WORKER, name), (0,))[0]


def _processes(pids: Mapping[str, int]) -> Iterator[Metric]:
    """The usual metrics of a process, of each worker."""
    families: dict[str, Metric] = {}
    for worker, pid in pids.items():
        for family in ProcessCollector(pid=_always(pid), registry=None).collect():
            kept = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                kept.add_sample(sample.name, {"worker": worker}, sample.value)
    yield from families.values()


def _always(pid: int) -> Callable[[], int]:
    return lambda: pid


# -- how the services are -------------------------------------------------------------------------------------------


def _upstreams(document: PolicyDocument | None, named: Named) -> Iterator[Metric]:
    labels = ("upstream", "target")
    healthy = GaugeMetricFamily(
        "authgate_upstream_target_healthy", "0: its checks fail, or it failed and has not answered since", labels=labels
    )
    left_out = GaugeMetricFamily(
        "authgate_upstream_target_left_out", "Whether a worker sends it no requests for a while", labels=labels
    )
    in_flight = GaugeMetricFamily("authgate_upstream_target_in_flight", "Requests at this target", labels=labels)
    upstreams = document.upstreams if document is not None else {}
    for upstream in health_of({name: each for name, each in upstreams.items() if name in named.upstreams}):
        for target in upstream.targets:
            values = (upstream.name, target.target)
            healthy.add_metric(values, target.health in ("up", "unused"))
            left_out.add_metric(values, target.left_out_until is not None)
            in_flight.add_metric(values, target.in_flight)
    yield from (healthy, left_out, in_flight)


def _build() -> Metric:
    build = GaugeMetricFamily("authgate_build_info", "Versions", labels=("version", "python", "django"))
    build.add_metric((VERSION, platform.python_version(), django.__version__), 1)
    return build
