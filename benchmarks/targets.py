"""The numbers to hold, each a ratio or a bound, computed from the rounds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.bench import Results


@dataclass(frozen=True)
class Target:
    """`scenario`'s `metric` of the gateway over that of `peer`; a bound of its own when there is no peer."""

    label: str
    scenario: str
    metric: str
    bound: float
    peer: str = ""
    other_scenario: str = ""  # where the peer's number is, when not in the same
    subject: str = "gateway"
    at_most: bool = False
    for_adapter: float | None = None  # what the ASGI adapter, which is slower, must hold

    def measured(self, results: dict[str, Results]) -> float | None:
        ours = _rounds(results, self.scenario, self.subject, self.metric)
        if not self.peer:
            return median(ours) if ours else None
        theirs = _rounds(results, self.other_scenario or self.scenario, self.peer, self.metric)
        if not ours or not all(theirs) or not theirs:
            return None
        if self.other_scenario:
            return median(ours) / median(theirs)
        # Round by round: what slowed the machine for a while slowed both.
        return median(one / other for one, other in zip(ours, theirs, strict=True))

    def is_met(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


def _rounds(results: dict[str, Results], scenario: str, peer: str, metric: str) -> list[float]:
    series = results.get(scenario, {}).get(peer)
    return series.rounds.get(metric, []) if series else []


TARGETS = [
    Target("varied / nginx plain proxy", "varied", "rate", 0.3, "nginx"),
    Target("varied / HAProxy", "varied", "rate", 0.7, "haproxy"),
    Target("varied / Envoy", "varied", "rate", 1.2, "envoy"),
    Target("varied over TLS / nginx plain proxy", "varied_tls", "rate", 0.3, "nginx_tls", subject="gateway_tls"),
    Target("varied over TLS / HAProxy", "varied_tls", "rate", 0.7, "haproxy_tls", subject="gateway_tls"),
    Target("varied over TLS / Envoy", "varied_tls", "rate", 1.2, "envoy_tls", subject="gateway_tls"),
    Target("varied behind a proxy / direct", "varied_proxied", "rate", 0.9, "gateway", subject="proxied"),
    Target("varied, p99 at half of own peak / Envoy", "varied_paced", "p99_ms", 1.0, "envoy", at_most=True),
    Target("small GET / nginx plain proxy", "small", "rate", 0.6, "nginx", for_adapter=0.4),
    Target("small GET / Envoy", "small", "rate", 1.4, "envoy", for_adapter=0.9),
    Target("small GET / Apache", "small", "rate", 2.2, "apache", for_adapter=1.5),
    Target("every token new / token cached", "fresh", "rate", 0.35, "gateway", "small"),
    Target("1 GiB download / nginx", "download", "mb_per_s", 0.8, "nginx"),
    Target("1 GiB download, extra MiB", "download", "extra_mib", 16, at_most=True),
    Target("100 MiB upload / nginx", "upload", "mb_per_s", 0.8, "nginx"),
    Target("1 GiB upload / nginx", "upload_1g", "mb_per_s", 0.8, "nginx"),
    Target("1 GiB upload, extra MiB", "upload_1g", "extra_mib", 16, at_most=True),
    Target("10,000 routes / 10", "routes", "rate", 0.95, "gateway_10", subject="gateway_10000"),
    Target("while 50 sign-ins hang / none", "sign_ins", "rate", 0.9, "gateway", subject="hanging"),
    Target("let in after a sign-out's answer", "ended", "let_in", 0, at_most=True),
    Target("WebSocket echo / nginx", "websocket", "rate", 0.5, "nginx"),
    Target("events to 1,000 streams / nginx", "events", "rate", 0.5, "nginx"),
    Target("idle WebSocket, KiB", "idle", "kib_each", 25, subject="sockets", at_most=True),
    Target("idle WebSockets lost by a new policy", "idle", "lost", 0, subject="sockets", at_most=True),
    Target("idle event stream, KiB", "idle", "kib_each", 25, subject="streams", at_most=True),
    Target("idle event streams lost by a new policy", "idle", "lost", 0, subject="streams", at_most=True),
    Target("p99 at half of own peak / Envoy", "paced", "p99_ms", 1.2, "envoy", at_most=True),
]
