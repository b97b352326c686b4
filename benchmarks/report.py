"""The table for people and the JSON for whoever compares runs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Results
from benchmarks.targets import TARGETS, Target

_PEERS = ["direct", "nginx", "envoy", "haproxy", "apache", "gateway"]
_UNITS = {
    "rate": "/s",
    "cpu_us": "µs processor",
    "p50_ms": "ms p50",
    "p90_ms": "ms p90",
    "p99_ms": "ms p99",
    "mb_per_s": "MB/s",
    "extra_mib": "MiB extra",
    "tried": "after answer",
    "let_in": "let in",
    "asked_rate": "asked/s",
    "asked_us": "µs, each asked",
    "longest_ms": "ms longest wait",
    "kib_each": "KiB each",
    "busy": "of a processor",
    "lost": "lost",
}


def machine() -> dict[str, Any]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": models[0].partition(": ")[2] if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def as_table(bench: Bench, results: dict[str, Results]) -> str:
    lines = ["", f"{machine()['cores']} cores, {machine()['cpu']}; load generator, service and peers share them."]
    if bench.busy > 0.1:
        lines.append(f"The machine was {bench.busy:.0%} busy with other work before the run: trust no figure.")
    lines += [f"  {name}: {version}" for name, version in bench.versions().items()]
    lines += [f"  MISSING {name}: {reason}" for name, reason in bench.missing.items()]
    for scenario, series in results.items():
        lines += ["", *_scenario_lines(scenario, series)]
    lines += ["", *_target_lines(results)]
    lines += ["", *(f"INVALID {problem}" for problem in bench.problems)] if bench.problems else []
    return "\n".join(lines)


def _scenario_lines(scenario: str, series: Results) -> Iterator[str]:
    names = [name for name in _PEERS if name in series] + [name for name in series if name not in _PEERS]
    metrics = list(dict.fromkeys(metric for one in series.values() for metric in one.rounds))
    yield f"{scenario:<18}" + "".join(f"{name:>15}" for name in names)
    for metric in metrics:
        cells = [_cell(series[name].median(metric)) for name in names]
        yield f"  {_UNITS[metric]:<16}" + "".join(f"{cell:>15}" for cell in cells)


def _target_lines(results: dict[str, Results]) -> Iterator[str]:
    yield f"{'gateway':<36}{'measured':>10}{'target':>10}{'':>8}{'ASGI adapter':>14}"
    for target in TARGETS:
        value = target.measured(results)
        if value is not None:
            yield f"{target.label:<36}{value:>10.2f}{_verdicts(target, value)}"
        elif target.scenario in results:
            yield f"{target.label:<36}{'-':>10}  not measured: {target.peer or target.subject} is missing"


def _verdicts(target: Target, value: float) -> str:
    sign = "≤" if target.at_most else "≥"
    text = f"{sign + ' ' + format(target.bound, 'g'):>10}{'ok' if target.is_met(value, target.bound) else 'MISSED':>8}"
    if target.for_adapter is None:
        return text
    met = "ok" if target.is_met(value, target.for_adapter) else "MISSED"
    return f"{text}{f'{sign} {target.for_adapter:g} {met}':>14}"


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _numbers(series: Results) -> dict[str, Any]:
    return {
        peer: {metric: {"median": one.median(metric), "rounds": values} for metric, values in one.rounds.items()}
        for peer, one in series.items()
    }


def as_json(bench: Bench, results: dict[str, Results]) -> str:
    return json.dumps(
        {
            "machine": {**machine(), "busy_before": round(bench.busy, 3)},
            "versions": bench.versions(),
            "missing": bench.missing,
            "invalid": bench.problems,
            "options": vars(bench.options),
            "scenarios": {name: _numbers(series) for name, series in results.items()},
            "targets": [
                {"label": target.label, "measured": target.measured(results), "bound": target.bound,
                 "at_most": target.at_most, "asgi_adapter": target.for_adapter}
                for target in TARGETS
            ],
        },
        indent=2,
    )  # fmt: skip
