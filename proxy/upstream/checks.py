"""Health checks that the policy asks for: of each target, by each worker."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping

from authgate.policy.schema import HealthCheck
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.probe import NoAnswer

logger = logging.getLogger(__name__)


class Checks:
    def __init__(self) -> None:
        self._running: dict[Endpoint, tuple[HealthCheck, asyncio.Task[None]]] = {}

    def follow(self, wanted: Mapping[Endpoint, HealthCheck]) -> None:
        """Check these from now on, and no others. Those whose check is the same go on with it."""
        for endpoint, (check, task) in list(self._running.items()):
            if wanted.get(endpoint) != check:
                task.cancel()
                endpoint.health.forget_checks()
                del self._running[endpoint]
        for endpoint, check in wanted.items():
            if endpoint not in self._running:
                task = asyncio.get_running_loop().create_task(_check_always(endpoint, check))
                self._running[endpoint] = check, task


def is_good(check: HealthCheck, status: int) -> bool:
    return status in check.status if check.status else 200 <= status < 400


async def _check_always(endpoint: Endpoint, check: HealthCheck) -> None:
    while True:
        try:
            await _check(endpoint, check)
        except Exception:  # of ours: the next turn tries again
            logger.exception("the health check of %s failed", endpoint.target)
        # Apart from those of other workers, so that the target is not asked by all of them at once.
        await asyncio.sleep(check.interval * random.uniform(0.9, 1.1))  # noqa: S311


async def _check(endpoint: Endpoint, check: HealthCheck) -> None:
    what = ""
    try:
        status = await endpoint.probe(check.path, check.timeout)
        good = is_good(check, status)
        what = "" if good else f"{check.path} answered with status {status}"
    except NoAnswer as error:
        good, what = False, f"{check.path}: {error}"
    endpoint.checked(what, good=good, healthy_after=check.healthy_after, unhealthy_after=check.unhealthy_after)
