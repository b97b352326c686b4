"""Lines of the application log, as text or as JSON. A line that a request caused names the request and its trace, by
which it is found among the lines of the access log and of other services.
"""

from __future__ import annotations

import json
import logging
import time

from authgate.observe.strangers import cause_of


class Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s%(request)s")

    def format(self, record: logging.LogRecord) -> str:
        cause = cause_of(record)
        ids = f" [request_id={cause.request_id} trace_id={cause.trace_id}]"
        record.request = ids if cause.request_id else ""
        return super().format(record)


class Json(logging.Formatter):
    """One object per line; `exception` holds a whole traceback."""

    def format(self, record: logging.LogRecord) -> str:
        milliseconds = f"{record.msecs:03.0f}"[:3]
        line = {
            "ts": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{milliseconds}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in cause_of(record)._asdict().items() if value}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
