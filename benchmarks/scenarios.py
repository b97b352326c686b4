"""What is measured. Each scenario gives numbers for each peer and round, or raises Invalid."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks import tokens, transfer, wrk
from benchmarks.asking import Callers, SlowIssuer, add_issuer
from benchmarks.bench import Bench, Invalid, Peer, Results, Series, token_of
from benchmarks.ended import end_under_load
from benchmarks.envoy import Envoy
from benchmarks.gateway import Gateway
from benchmarks.hanging import HangingLogins
from benchmarks.haproxy import HAProxy
from benchmarks.nginx import DOWNLOAD_BYTES, PlainProxy
from benchmarks.processes import CpuWatch, MemoryWatch
from benchmarks.staying import events, idle, websocket
from benchmarks.tls import write_tls_files

MIB = 1 << 20
HANGING_LOGINS = 50
ENDED_SESSIONS = 40
PROXIES = ["nginx", "envoy", "apache", "gateway"]
VERIFIERS = ["envoy", "apache", "gateway"]
VARIED_CALLERS = 1000
OTHERS_A_SECOND = 1000


def small(bench: Bench) -> Results:
    """Small JSON with one bearer token."""
    results: Results = defaultdict(Series)
    for _, peer in bench.in_turns(["direct", *PROXIES]):
        watch = CpuWatch(peer.pids())
        load = all_good(wrk.run(f"{peer.url}/small", bench.options.seconds, token=token_of(peer)))
        note(bench, "small", results, peer, load, watch)
    return results


def varied(bench: Bench) -> Results:
    """As in real use: every head new, 1,000 callers, one in five requests a POST, every answer another one."""
    return _measure_varied(bench, "varied", ["direct", "nginx", "envoy", "haproxy", "apache", "gateway"])


def varied_tls(bench: Bench) -> Results:
    """The same over TLS, with a certificate made for the run. The service is reached without."""
    tls = write_tls_files(bench.room("tls"))
    builders: dict[str, Callable[[Path], Peer]] = {
        "nginx_tls": lambda room: PlainProxy(room, bench.upstream, tls=tls),
        "envoy_tls": lambda room: Envoy(room, bench.upstream, bench.signer, tls=tls),
        "haproxy_tls": lambda room: HAProxy(room, bench.upstream, bench.signer, tls=tls),
        "gateway_tls": lambda room: Gateway(room, bench.upstream, name="gateway_tls", tls=tls),
    }
    for name, build in builders.items():
        bench.start(name, build)
    return _measure_varied(bench, "varied_tls", list(builders))


def varied_proxied(bench: Bench) -> Results:
    """The same from a trusted proxy: 10,000 clients on the proxy's connections, beside the gateway without one."""
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"}
    bench.start("proxied", lambda room: Gateway(room, bench.upstream, name="proxied", env=env))
    return _measure_varied(bench, "varied_proxied", ["gateway", "proxied"])


def _measure_varied(bench: Bench, scenario: str, names: list[str]) -> Results:
    results: Results = defaultdict(Series)
    files = _write_tokens(bench, scenario, VARIED_CALLERS, bench.present(names))
    for number, peer in bench.in_turns(names):
        watch = CpuWatch(peer.pids())
        load = run_varied(peer, bench.options.seconds, files[peer.name], seed=number)
        note(bench, scenario, results, peer, load, watch)
    return results


def run_varied(peer: Peer, seconds: float, tokens_file: str, *, seed: int) -> wrk.Load:
    args = (tokens_file, str(seed), str(wrk.THREADS), str(10_000 if peer.name == "proxied" else 0))
    return all_good(wrk.run(f"{peer.url}/varied", seconds, connections=32, script="varied.lua", args=args))


def varied_paced(bench: Bench) -> Results:
    """Latency at half of the gateway's peak, everybody at that same rate, counted from when a request was due."""
    gateway = bench.peers.get("gateway")
    if gateway is None:
        return {}
    results: Results = defaultdict(Series)
    names = ["direct", "envoy", "haproxy", "gateway"]
    files = _write_tokens(bench, "varied_paced", VARIED_CALLERS, bench.present(names))
    peak = run_varied(gateway, bench.options.seconds, files["gateway"], seed=0).rate
    for number, peer in bench.in_turns(names):
        watch = CpuWatch(peer.pids())
        load = _run_varied_paced(peer, bench.options.seconds, files[peer.name], seed=number, rate=peak / 2)
        note(bench, "varied_paced", results, peer, load, watch)
    return results


def _run_varied_paced(peer: Peer, seconds: float, tokens_file: str, *, seed: int, rate: float) -> wrk.Load:
    args = (tokens_file, str(seed), str(wrk.THREADS), "0", f"{rate / wrk.THREADS:.3f}")
    load = all_good(wrk.run(f"{peer.url}/varied", seconds, script="varied_paced.lua", args=args))
    if load.from_due < load.responses:
        raise Invalid(f"{peer.name}: {load.responses - load.from_due} responses do not say when they were due")
    return load


def fresh(bench: Bench) -> Results:
    """Small JSON, each request with an RS256 token never seen before."""
    results: Results = defaultdict(Series)
    seconds, written = 1 if bench.options.quick else 2, -1
    files: dict[str, str] = {}
    for number, peer in bench.in_turns(PROXIES, min(3, bench.options.rounds)):
        if number != written:
            files = _write_tokens(bench, f"fresh-{number}", 20_000 * seconds, bench.present(PROXIES))
            written = number
        args = (files[peer.name], str(wrk.THREADS))
        watch = CpuWatch(peer.pids())
        load = all_good(wrk.run(f"{peer.url}/small", seconds, script="tokens.lua", args=args))
        if peer.verifies and load.repeated:
            raise Invalid(f"{peer.name}: {load.repeated} of {load.responses} tokens were not new")
        note(bench, "fresh", results, peer, load, watch)
    return results


def _write_tokens(bench: Bench, name: str, count: int, peers: list[Peer]) -> dict[str, str]:
    """A file for each peer. The gateway knows only its own key, and all others know one."""
    bench.say(f"signing {count:,} tokens for everybody")
    files: dict[int, str] = {}
    for signer in {id(signer): signer for signer in map(_signer_of(bench), peers)}.values():
        path = bench.directory / f"tokens-{name}-{len(files)}"
        path.write_text("\n".join(signer.sign_many(count)))
        files[id(signer)] = str(path)
    return {peer.name: files[id(_signer_of(bench)(peer))] for peer in peers}


def _signer_of(bench: Bench) -> Callable[[Peer], tokens.Signer | Gateway]:
    return lambda peer: peer if isinstance(peer, Gateway) else bench.signer


def denied(bench: Bench) -> Results:
    """No credential: 401, and nothing reaches the service."""
    results: Results = defaultdict(Series)
    for _, peer in bench.in_turns(VERIFIERS):
        watch = CpuWatch(peer.pids())
        load = wrk.run(f"{peer.url}/small", bench.options.seconds)
        if load.refused < load.responses or load.broken:
            raise Invalid(f"{peer.name}: {load.responses - load.refused} not refused, {load.broken} broken")
        note(bench, "denied", results, peer, load, watch)
    return results


def download(bench: Bench) -> Results:
    """1 GiB from the service, one connection."""
    return _transfer(
        bench, "download", ["direct", *PROXIES],
        lambda peer: transfer.download(f"{peer.url}/download", token_of(peer), DOWNLOAD_BYTES),
    )  # fmt: skip


def upload(bench: Bench) -> Results:
    """100 MiB to the service, one connection."""
    return _upload(bench, "upload", 100 * MIB)


def upload_1g(bench: Bench) -> Results:
    """1 GiB to the service, one connection."""
    return _upload(bench, "upload_1g", 1024 * MIB)


def _upload(bench: Bench, name: str, size: int) -> Results:
    def send(peer: Peer) -> float:
        url = bench.upstream.sink_url if peer is bench.upstream else peer.url
        return transfer.upload(f"{url}/upload", token_of(peer), size)

    return _transfer(bench, name, ["direct", *PROXIES], send)


def _transfer(bench: Bench, name: str, peers: list[str], send: Callable[[Peer], float]) -> Results:
    results: Results = defaultdict(Series)
    for _, peer in bench.in_turns(peers):
        watch = MemoryWatch(peer.pids())
        try:
            speed = send(peer) / 1e6
        except (transfer.TransferFailed, OSError) as error:
            raise Invalid(f"{peer.name}: {error}") from error
        grown = watch.growth_mib()
        results[peer.name].add(mb_per_s=speed, extra_mib=grown)
        bench.say(f"{name}: {peer.name} {speed:,.0f} MB/s, {grown:.1f} MiB of extra memory")
    return results


def routes(bench: Bench) -> Results:
    """The same request under a policy of 10 and one of 10,000 routes."""
    names = {"gateway_10": 10, "gateway_10000": 10_000}
    for name, count in names.items():
        bench.start(name, lambda room, n=name, c=count: Gateway(room, bench.upstream, name=n, routes=c))
    results: Results = defaultdict(Series)
    for _, peer in bench.in_turns(list(names)):
        watch = CpuWatch(peer.pids())
        load = all_good(wrk.run(f"{peer.url}/service/4/api", bench.options.seconds, token=token_of(peer)))
        note(bench, "routes", results, peer, load, watch)
    return results


def sign_ins(bench: Bench) -> Results:
    """The small GET while 50 people's sign-ins hang at their provider, and while nobody signs in."""
    gateway = bench.peers.get("gateway")
    if not isinstance(gateway, Gateway):
        return {}
    results: Results = defaultdict(Series)
    for number in range(bench.options.rounds):
        _measure_signed_in(bench, results, gateway, "gateway")
        with HangingLogins(gateway, HANGING_LOGINS) as logins:
            _measure_signed_in(bench, results, gateway, "hanging")
            if logins.hanging() < HANGING_LOGINS:
                raise Invalid(f"round {number}: only {logins.hanging()} of {HANGING_LOGINS} sign-ins still hang")
    return results


def _measure_signed_in(bench: Bench, results: Results, gateway: Gateway, name: str) -> None:
    watch = CpuWatch(gateway.pids())
    load = all_good(wrk.run(f"{gateway.url}/small", bench.options.seconds, token=token_of(gateway)))
    cpu = watch.microseconds_each(load.responses)
    results[name].add(rate=load.rate, cpu_us=cpu, p50_ms=load.p50_ms, p99_ms=load.p99_ms)
    bench.say(f"sign_ins: {name} {load.rate:,.0f}/s, p99 {load.p99_ms:.2f} ms")


def paced(bench: Bench) -> Results:
    """Latency at half of the gateway's peak, everybody at that same rate."""
    gateway = bench.peers.get("gateway")
    if gateway is None:
        return {}
    peak = all_good(wrk.run(f"{gateway.url}/small", bench.options.seconds, token=token_of(gateway))).rate
    pauses = {name: _find_pause(bench.peers[name], peak / 2) for name in VERIFIERS if name in bench.peers}
    results: Results = defaultdict(Series)
    for _, peer in bench.in_turns(VERIFIERS):
        watch = CpuWatch(peer.pids())
        load = _run_paced(peer, bench.options.seconds, pauses[peer.name])
        note(bench, "paced", results, peer, load, watch)
    return results


def _find_pause(peer: Peer, rate: float) -> float:
    """Milliseconds between a response and the next request of its connection that give this rate."""
    period = wrk.CONNECTIONS / rate * 1000
    pause = period * 0.9
    for _ in range(3):
        measured = wrk.CONNECTIONS / _run_paced(peer, 1, pause).rate * 1000
        pause = max(0.0, pause + period - measured)
    return pause


def _run_paced(peer: Peer, seconds: int, pause: float) -> wrk.Load:
    args = (f"{pause:.3f}",)
    return all_good(wrk.run(f"{peer.url}/small", seconds, token=token_of(peer), script="paced.lua", args=args))


def ended(bench: Bench) -> Results:
    """Sessions signed out while 16 connections use them: requests that began after the answer, and who was let in."""
    gateway = bench.peers.get("gateway")
    if not isinstance(gateway, Gateway):
        return {}
    cookies = gateway.sign_in_many(4 if bench.options.quick else ENDED_SESSIONS)
    tally = end_under_load(gateway.port, cookies)
    longest = tally.longest_wait * 1000
    bench.say(f"ended: {tally.let_in} of {tally.tried:,} were let in, the longest wait was {longest:.0f} ms")
    return {"gateway": Series({"tried": [tally.tried], "let_in": [tally.let_in], "longest_ms": [longest]})}


def introspection(bench: Bench) -> Results:
    """Other people's requests at a moderate rate while 1,000 wait for an issuer that is asked about their tokens."""
    gateway = bench.peers.get("gateway")
    if not isinstance(gateway, Gateway):
        return {}
    room = bench.room("introspection")
    issuer = SlowIssuer(room)
    try:
        add_issuer(gateway, issuer)
        return _measure_others(bench, gateway, room)
    finally:
        issuer.stop()


def _measure_others(bench: Bench, gateway: Gateway, room: Path) -> Results:
    results: Results = defaultdict(Series)
    tokens_file = _write_tokens(bench, "introspection", VARIED_CALLERS, [gateway])[gateway.name]
    for number in range(bench.options.rounds):
        each = _measure_other(bench, results["gateway"], gateway, tokens_file, number)
        watch = CpuWatch(gateway.pids())
        with Callers(gateway, room, bench.options.seconds + 3) as callers:
            time.sleep(1)
            _measure_other(bench, results["asking"], gateway, tokens_file, number)
            asked = all_good(callers.load())
        if asked.repeated:
            raise Invalid(f"{asked.repeated} of {asked.responses} tokens were asked about before")
        others = OTHERS_A_SECOND * bench.options.seconds
        cost = (watch.microseconds_each(1) - others * each) / asked.responses
        results["asking"].add(asked_rate=asked.rate, asked_us=cost)
        bench.say(f"introspection: {asked.rate:,.0f}/s were asked about, {cost:.0f} µs of processor each")
    return results


def _measure_other(bench: Bench, series: Series, gateway: Gateway, tokens_file: str, number: int) -> float:
    """Microseconds of processor time for each request."""
    watch = CpuWatch(gateway.pids())
    load = _run_varied_paced(gateway, bench.options.seconds, tokens_file, seed=number, rate=OTHERS_A_SECOND)
    cpu = watch.microseconds_each(load.responses)
    series.add(rate=load.rate, p50_ms=load.p50_ms, p90_ms=load.p90_ms, p99_ms=load.p99_ms)
    bench.say(f"introspection: p50 {load.p50_ms:.2f}, p90 {load.p90_ms:.2f}, p99 {load.p99_ms:.2f} ms")
    return cpu


def note(bench: Bench, scenario: str, results: Results, peer: Peer, load: wrk.Load, watch: CpuWatch) -> None:
    cpu = watch.microseconds_each(load.responses)
    results[peer.name].add(rate=load.rate, cpu_us=cpu, p50_ms=load.p50_ms, p99_ms=load.p99_ms)
    bench.say(f"{scenario}: {peer.name} {load.rate:,.0f}/s, {cpu:.0f} µs of processor each, p99 {load.p99_ms:.2f} ms")


def all_good(load: wrk.Load) -> wrk.Load:
    if load.refused or load.broken or not load.responses:
        raise Invalid(f"of {load.responses} answers {load.refused} were not 2xx, {load.broken} broken")
    return load


SCENARIOS: dict[str, Callable[[Bench], Results]] = {
    "varied": varied,
    "varied_tls": varied_tls,
    "varied_proxied": varied_proxied,
    "varied_paced": varied_paced,
    "small": small,
    "fresh": fresh,
    "denied": denied,
    "download": download,
    "upload": upload,
    "upload_1g": upload_1g,
    "routes": routes,
    "paced": paced,
    "sign_ins": sign_ins,
    "ended": ended,
    "introspection": introspection,
    "websocket": websocket,
    "events": events,
    "idle": idle,
}
