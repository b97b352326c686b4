"""How the gateway of a data directory was last served, so that commands speak of the same gateway."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import NamedTuple

from gateway_site import env, invocation
from gateway_site.env import EnvError
from gateway_site.private_file import finished_draft

DEFAULT_URL = "http://localhost:8000"
FILE = "served.json"

logger = logging.getLogger(__name__)


class Served(NamedTuple):
    public_url: str
    tls: bool
    certificates: tuple[tuple[Path, Path], ...] = ()  # each with its key


def public_url(name: str, default: str, data_dir: Path) -> str:
    """As it is set. Else, for a command, as the gateway was last served, which is said when it is not the default."""
    if env.text(name, "") or invocation.is_the_gateway():
        return env.public_url(name, default)
    last = read(name, data_dir)
    if last is None or last.public_url == default:
        return default
    sys.stderr.write(f"authgate: {name} is not set: using {last.public_url}, as this gateway was last served\n")
    return last.public_url


def read(name: str, data_dir: Path) -> Served | None:
    """None: never served, or by an earlier version. Raises EnvError for a file that is damaged."""
    path = data_dir / FILE
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        url, tls = content["public_url"], content["tls"]
        files = tuple((Path(cert), Path(key)) for cert, key in content.get("certificates", ()))
        return Served(env.public_url(name, "", {name: str(url)}), bool(tls), files)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvError(name, f"not set, and cannot read {str(path)!r}: {error.strerror}") from error
    # Neither is the content repeated: root may have been made to read another file.
    except (ValueError, TypeError, KeyError, AttributeError, EnvError) as error:
        raise EnvError(name, f"not set, and {str(path)!r} is damaged: remove it") from error


def record(data_dir: Path, served: Served) -> None:
    """A gateway that cannot write this serves all the same."""
    path, content = data_dir / FILE, json.dumps(served._asdict(), default=str)
    try:
        if not path.exists() or path.read_bytes() != content.encode("ascii"):
            with finished_draft(path, content) as draft:
                draft.replace(path)
    except OSError as error:
        logger.warning("commands will not know the public URL: cannot write %s: %s", path, error.strerror)
