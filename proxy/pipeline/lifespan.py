from __future__ import annotations

import asyncio
import gc
import logging

from django.conf import settings

from authgate import ratelimit
from authgate.observe import metrics, tracing
from authgate.observe.access_log import AccessLog, Record
from authgate.observe.line_writer import flush_all
from authgate.observe.strangers import client_lines
from authgate.outbound import client
from authgate.sessions.polling import poll_always
from authgate.sessions.purge import purge_hourly
from authgate.state import watcher
from authgate.threads import Threads
from proxy.pipeline.downstream import Receive, Send
from proxy.upstream.worker import current_worker

logger = logging.getLogger(__name__)


_access_log = AccessLog(descriptor=1) if settings.AUTHGATE_ACCESS_LOG == "json" else None


def end(record: Record) -> None:
    """Of every request, once: its span, the metrics, and a line in the access log."""
    if not record.in_log:
        return
    tracing.write(record)
    metrics.count(record)
    if _access_log is not None:
        _access_log.write(record)


async def run_lifespan(receive: Receive, send: Send) -> None:
    """Per worker: watch the policy from start to end (ASGI lifespan protocol)."""
    tasks: list[asyncio.Task[None]] = []
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                ratelimit.prepare()
                tracing.begin()
                metrics.begin()
                watcher.start_watching()
                # Made now: reading the certificate authorities takes tens of milliseconds.
                current_worker()
                # A request makes hundreds of objects and no cycles: collecting every 700 cost a twentieth of its time.
                gc.set_threshold(20_000, 20, 50)
                always = (purge_hourly(Threads("purge", 1)), poll_always(Threads("polls", 4)))
                tasks = [asyncio.get_running_loop().create_task(work) for work in always]
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        else:
            for task in tasks:
                task.cancel()
            watcher.stop_watching()
            await ratelimit.close()
            await client.close()
            await asyncio.to_thread(tracing.end)
            metrics.flush()
            if _access_log is not None:
                _access_log.flush()
            client_lines.tell()
            flush_all()
            await send({"type": "lifespan.shutdown.complete"})
            return
