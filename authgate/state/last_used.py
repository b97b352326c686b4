"""When each service token was last used: kept in memory by each worker and written now and then, off the request path.

An outage of the database loses only that.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime

from django.db import Error as DatabaseProblem
from django.db import connection
from django.db.models import Q

from authgate.models.service_tokens import ServiceToken

logger = logging.getLogger(__name__)

WRITE_SECONDS = 30.0

_used: dict[int, float] = {}
_stopping = threading.Event()
_thread: threading.Thread | None = None


def note(number: int) -> None:
    """Of a token in use. Called for every request with one."""
    _used[number] = time.time()


def start() -> None:
    """In each worker, after the fork."""
    global _thread
    _stopping.clear()
    _used.clear()
    _thread = threading.Thread(target=_run, name="last-used", daemon=True)
    _thread.start()


def stop() -> None:
    """Writes what is left."""
    global _thread
    _stopping.set()
    thread, _thread = _thread, None
    if thread is not None and thread.is_alive():
        thread.join(timeout=5)


def write() -> None:
    """What was used since the last time. Raises DatabaseError; then it is tried again."""
    for number in list(_used):
        noted = _used[number]
        used_at = datetime.fromtimestamp(noted, UTC)
        # By `update`, which tells no worker: nothing is decided by it. One by one: whoever holds several rows may block
        # whoever ends them. Another worker may have written a later time.
        older = Q(last_used_at=None) | Q(last_used_at__lt=used_at)
        ServiceToken.objects.filter(older, pk=number).update(last_used_at=used_at)
        if _used[number] == noted:
            del _used[number]


def _run() -> None:
    is_last = False
    while not is_last:
        is_last = _stopping.wait(WRITE_SECONDS)
        try:
            write()
        except DatabaseProblem as error:
            logger.warning("when service tokens were last used was not written: %s", error)
        except Exception:
            logger.exception("when service tokens were last used was not written")
        finally:
            connection.close()
