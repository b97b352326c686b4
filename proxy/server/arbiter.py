"""The process above the workers of the default server."""

from __future__ import annotations

from typing import Any

from gunicorn.arbiter import Arbiter

from proxy.server.supervision import Supervision


class GatewayArbiter(Arbiter):  # type: ignore[misc]  # untyped
    """gunicorn's, which also tells systemd how the workers are."""

    def __init__(self, app: Any, supervision: Supervision) -> None:
        self._supervision = supervision
        self._first_age = 0  # of the workers that count: those that a reload replaces end
        super().__init__(app)

    def murder_workers(self) -> None:
        super().murder_workers()
        self._look()

    def reap_workers(self) -> None:
        super().reap_workers()
        self._look()

    def reload(self) -> None:
        self._supervision.reloading()
        self._first_age = self.worker_age + 1
        super().reload()
        self._supervision.reloaded()

    def stop(self, graceful: bool = True) -> None:
        self._supervision.stopping()
        super().stop(graceful)

    def _look(self) -> None:
        workers = [worker for worker in self.WORKERS.values() if worker.age >= self._first_age]
        self._supervision.look((worker.heartbeat for worker in workers), self.num_workers)
