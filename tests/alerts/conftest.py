"""These run by themselves, with `make test-alerts`: each waits for a real Prometheus to see what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.alerts.prometheus import Prometheus, find_prometheus
from tests.support.gateway import Gateway

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if any(HERE.name in argument for argument in config.args) else True


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[Gateway], Prometheus]]:
    """`watch(gateway)`: a Prometheus with the alert rules, which scrapes this gateway."""
    if find_prometheus() is None:
        pytest.skip("needs prometheus and promtool (Debian: prometheus)")
    running: list[Prometheus] = []

    def start(gateway: Gateway) -> Prometheus:
        running.append(Prometheus(tmp_path / "prometheus", gateway.port))
        return running[-1].start()

    yield start
    for prometheus in running:
        prometheus.stop()
