from __future__ import annotations

import ipaddress
import os
import re
import secrets
import stat
from collections import ChainMap
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from authgate.system_user import user_name
from authgate.wire.address import Network, canonical_network
from gateway_site.private_file import finished_draft

LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"

# A Kubernetes service named authgate gives these to every pod beside it.
_OF_KUBERNETES = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_FORWARDED = ("for", "proto", "host", "port")
_known_names: set[str] = set()
# What the settings file says where the environment says nothing, and in which line.
_in_file: dict[str, str] = {}
_places: dict[str, str] = {}
ENVIRON: Mapping[str, str] = ChainMap(_in_file, os.environ)


class EnvError(SystemExit):
    """Stops start-up with one line that names the variable; exit status 1."""

    def __init__(self, name: str, problem: str) -> None:
        place = _places.get(name) or _places.get(f"{name}_FILE")
        super().__init__(f"authgate: {place}: {name}: {problem}" if place else f"authgate: {name}: {problem}")


def know(name: str) -> None:
    """Of a variable that is read elsewhere: it is no misspelt one."""
    _known_names.add(name)


def use_file(lines: Mapping[str, tuple[str, str]]) -> None:
    """Value and place by name. A variable that the environment sets, itself or by NAME_FILE, stays as that says."""
    for name, (value, place) in lines.items():
        base = name.removesuffix("_FILE")
        if not os.environ.get(base) and not os.environ.get(f"{base}_FILE"):
            _in_file[name], _places[name] = value, place


def is_in_file(name: str) -> bool:
    """Whether the settings file says it, and not the environment."""
    return name in _in_file


def text(name: str, default: str, environ: Mapping[str, str] = ENVIRON) -> str:
    """The variable, or the content of the file that NAME_FILE names, or the default."""
    _known_names.add(name)
    value, file_name = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value and file_name:
        raise EnvError(name, f"set either {name} or {name}_FILE, not both")
    if not file_name:
        return value or default
    try:
        content = Path(file_name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:  # no UTF-8, or a name with a NUL
        raise EnvError(f"{name}_FILE", f"cannot read {file_name!r}: {_cause(error)}") from error
    if not content:
        raise EnvError(f"{name}_FILE", f"{file_name!r} is empty")
    return content


def files(*names: str, environ: Mapping[str, str] = ENVIRON) -> dict[str, Path]:
    """The files from which these variables come, by name; what has its value in the environment is left out."""
    return {name: Path(environ[f"{name}_FILE"]).absolute() for name in names if environ.get(f"{name}_FILE")}


def list_of_files(name: str, environ: Mapping[str, str] = ENVIRON) -> tuple[Path, ...]:
    """Files that are there, separated by `:`."""
    _known_names.add(name)
    paths = tuple(Path(part).absolute() for part in environ.get(name, "").split(":") if part)
    for path in paths:
        try:
            path.stat()
        except (OSError, ValueError) as error:
            raise EnvError(name, f"cannot read {str(path)!r}: {_cause(error)}") from error
    return paths


def refuse_unknown(prefix: str, environ: Mapping[str, str] = ENVIRON) -> None:
    """Called when every setting has been read: a misspelt one must not silently be its default."""
    set_names = {name for name in environ if name.startswith(prefix)}
    names = {name for name in set_names if _known_names.isdisjoint((name, name.removesuffix("_FILE")))}
    if "KUBERNETES_SERVICE_HOST" in environ:
        names = {name for name in names if not _OF_KUBERNETES.fullmatch(name)}
    for name in sorted(names):
        nearest = get_close_matches(name, sorted(_known_names), 1, cutoff=0)
        raise EnvError(name, f"is not a setting; the nearest is {nearest[0]}")


def choice(name: str, default: str, choices: tuple[str, ...], environ: Mapping[str, str] = ENVIRON) -> str:
    value = text(name, default, environ)
    if value not in choices:
        raise EnvError(name, f"must be one of {', '.join(choices)}, not {value!r}")
    return value


def seconds(name: str, default: int, environ: Mapping[str, str] = ENVIRON, *, least: int = 1) -> int:
    """Whole seconds, `least` to 86400."""
    value = text(name, str(default), environ)
    if not re.fullmatch(r"[0-9]{1,5}", value) or not least <= int(value) <= 86_400:
        raise EnvError(name, f"must be a whole number of seconds from {least} to 86400, not {value!r}")
    return int(value)


def days(name: str, default: int, longest: int, environ: Mapping[str, str] = ENVIRON) -> int:
    """Whole days, 0 to `longest`."""
    value = text(name, str(default), environ)
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > longest:
        raise EnvError(name, f"must be a whole number of days from 0 to {longest}, not {value!r}")
    return int(value)


def per_second(name: str, default: str, environ: Mapping[str, str] = ENVIRON) -> int:
    """`5/s`: 1 to 10000."""
    value = text(name, default, environ)
    match = re.fullmatch(r"([0-9]{1,5})/s", value)
    if match is None or not 1 <= int(match[1]) <= 10_000:
        raise EnvError(name, f"must look like 5/s, from 1/s to 10000/s, not {value!r}")
    return int(match[1])


def words(name: str, environ: Mapping[str, str] = ENVIRON) -> tuple[str, ...]:
    """Comma- or space-separated words."""
    return tuple(word for word in re.split(r"[,\s]+", text(name, "", environ)) if word)


def forwarded_headers(name: str, environ: Mapping[str, str] = ENVIRON) -> frozenset[bytes]:
    """Of `for, proto, host, port` those that are named, all by default; as names of headers."""
    named = words(name, environ) or _FORWARDED
    if unknown := set(named) - set(_FORWARDED):
        raise EnvError(name, f"must name some of {', '.join(_FORWARDED)}, not {min(unknown)!r}")
    return frozenset(f"x-forwarded-{word}".encode("ascii") for word in named)


def networks(name: str, environ: Mapping[str, str] = ENVIRON, *, default: str = "") -> tuple[Network, ...]:
    """CIDR blocks or single addresses. With a default, `none` is the word for no network at all."""
    named = words(name, environ) or tuple(default.split())
    return () if default and named == ("none",) else tuple(_network(name, word) for word in named)


def open_to(name: str, default: str, environ: Mapping[str, str] = ENVIRON) -> tuple[Network, ...] | None:
    """`on`: everybody, which is None. `off`: nobody. Or CIDR blocks and addresses."""
    value = text(name, default, environ)
    if value in ("on", "off"):
        return None if value == "on" else ()
    return tuple(_network(name, word, "on, off") for word in re.split(r"[,\s]+", value) if word)


def public_url(name: str, default: str, environ: Mapping[str, str] = ENVIRON) -> str:
    """An http(s) origin without path: `https://gateway.example.com`."""
    value = text(name, default, environ)
    try:
        parts = urlsplit(value)
        hostname, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise EnvError(name, f"{value!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not _is_host(hostname) or port == 0:
        raise EnvError(name, f"must look like https://gateway.example.com, not {value!r}")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise EnvError(name, f"must be scheme, host and port only, not {value!r}")
    host = f"[{hostname}]" if ":" in hostname else hostname
    default_port = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != default_port else "")


def path_prefix(name: str, default: str, environ: Mapping[str, str] = ENVIRON) -> str:
    """One or more plain path segments: `/auth`."""
    value = text(name, default, environ)
    if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", value):
        raise EnvError(name, f"must look like /auth, not {value!r}")
    return value


def directory(name: str, default: str, environ: Mapping[str, str] = ENVIRON, *, create: bool = False) -> Path:
    """An existing directory (made, private to this user, when `create`)."""
    path = Path(text(name, default, environ)).absolute()
    if create:
        make_directory(name, path)
    if not _is_directory(name, path):
        raise EnvError(name, f"{str(path)!r} is not a directory")
    return path


def place_of_directory(name: str, default: str, environ: Mapping[str, str] = ENVIRON) -> Path:
    """A directory that may be missing; what is there in its place is refused."""
    path = Path(text(name, default, environ)).absolute()
    _is_directory(name, path)
    return path


def make_directory(name: str, path: Path) -> None:
    """Private to this user, unless it is there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise EnvError(name, f"cannot use {str(path)!r}: {_cause(error)}") from error


def _is_directory(name: str, path: Path) -> bool:
    """False when nothing is there."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise EnvError(name, f"cannot use {str(path)!r}: {_cause(error)}") from error
    if not stat.S_ISDIR(mode):
        raise EnvError(name, f"{str(path)!r} is not a directory")
    # Without this, all that is in it would look as if it were not there.
    if not os.access(path, os.X_OK):
        raise EnvError(
            name, f"cannot use {str(path)!r}: Permission denied for the user {user_name()}; run this as its owner"
        )
    return True


def optional_directory(name: str, environ: Mapping[str, str] = ENVIRON) -> Path | None:
    return directory(name, "", environ) if text(name, "", environ) else None


def http_url(name: str, environ: Mapping[str, str] = ENVIRON) -> str:
    """`http://collector:4318`, perhaps with a path, or empty."""
    value = text(name, "", environ)
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise EnvError(name, f"{value!r} is not a URL: {error}") from error
    if value and (not is_good or parts.query or parts.fragment or "@" in parts.netloc):
        raise EnvError(name, f"must look like http://collector.example.com:4318, not {value!r}")
    return value.rstrip("/")


def ratio(name: str, default: str, environ: Mapping[str, str] = ENVIRON) -> float:
    """From 0 to 1."""
    value = text(name, default, environ)
    if not re.fullmatch(r"0|1|0?\.[0-9]{1,6}|1\.0{1,6}", value):
        raise EnvError(name, f"must be a number from 0 to 1, such as 0.1, not {value!r}")
    return float(value)


def redis_url(name: str, environ: Mapping[str, str] = ENVIRON) -> str:
    """`redis://`, `rediss://` or `unix://` URL, or empty. The value may hold a password: it is never echoed."""
    value = text(name, "", environ)
    if value and not re.match(r"(redis|rediss|unix)://", value):
        raise EnvError(name, "must begin with redis://, rediss:// or unix://")
    try:
        parts = urlsplit(value)
        is_complete = bool(parts.path if parts.scheme == "unix" else parts.hostname and parts.port != 0)
    except ValueError as error:
        raise EnvError(name, "is not a valid URL") from error
    if value and not is_complete:
        raise EnvError(name, "must look like redis://HOST:PORT/0 or unix:///path/to/socket")
    return value


def secret_key(
    name: str,
    data_dir: Path,
    environ: Mapping[str, str] = ENVIRON,
    *,
    sealed_in: Path | None = None,
    make: bool = True,
) -> str:
    """At least 32 characters; with `make`, made once in the data directory when nothing sets it.

    But not beside `sealed_in`, a database with content: what is sealed in that opens with the lost one alone.
    """
    value, source = text(name, "", environ), ""
    if not value:
        path = data_dir / "secret_key"
        value, source = _kept_secret(name, path, sealed_in, make), f"{str(path)!r} "
    if len(value) < 32:
        raise EnvError(name, f"{source}must have at least 32 characters, has {len(value)}")
    return value


def fallback_secret(name: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    """The secret key before this one, for what it has sealed. As Django's SECRET_KEY_FALLBACKS."""
    value = text(name, "", environ)
    if value and len(value) < 32:
        raise EnvError(name, f"must have at least 32 characters, has {len(value)}")
    return [value] if value else []


def source_of_secret(name: str, data_dir: Path, environ: Mapping[str, str] = ENVIRON) -> str:
    """Where `secret_key` has it from, in words for an operator."""
    if environ.get(name):
        return f"{name} of {_places[name]}" if name in _places else name
    if file_name := environ.get(f"{name}_FILE"):
        return f"the key in {file_name!r} ({name}_FILE)"
    return f"the key in {str(data_dir / 'secret_key')!r}"


def _kept_secret(name: str, path: Path, sealed_in: Path | None, make: bool) -> str:
    try:
        if not path.exists():
            if sealed_in is not None and sealed_in.exists() and sealed_in.stat().st_size:
                raise EnvError(name, f"not set, and {str(path)!r}, which opens {str(sealed_in)!r}, is gone: restore it")
            if not make:
                return _passing_secret(name, path, sealed_in)
            with finished_draft(path, secrets.token_urlsafe(48)) as draft, suppress(FileExistsError):
                # Of several processes started at once exactly one key wins.
                os.link(draft, path)
        value = path.read_text(encoding="ascii").strip()
        # A file that was being written when the machine lost its power holds NULs: a key that everybody knows.
        if not value.isprintable():
            raise EnvError(name, f"not set, and {str(path)!r} is damaged: restore it")
        return value
    except (OSError, UnicodeDecodeError) as error:
        raise EnvError(name, f"not set, and {str(path)!r} cannot be used: {_cause(error)}") from error


def _passing_secret(name: str, path: Path, sealed_in: Path | None) -> str:
    """For a command without a database, in which it could seal nothing; with a server, nobody knows what is sealed."""
    if sealed_in is None:
        raise EnvError(
            name, f"not set, and {str(path)!r} is not there: see AUTHGATE_DATA_DIR; manage.py migrate makes it"
        )
    return secrets.token_urlsafe(48)


def _is_host(host: str) -> bool:
    """An IP address or a DNS name in the form browsers send it: ASCII, no dot at the end."""
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        try:
            return bool(ipaddress.ip_address(host)) and "%" not in host
        except ValueError:
            return False
    return len(host) <= 253 and re.fullmatch(rf"{LABEL}(\.{LABEL})*", host) is not None


def _network(name: str, word: str, otherwise: str = "") -> Network:
    try:
        return canonical_network(ipaddress.ip_network(word))
    except ValueError as error:
        kinds = f"{otherwise}, an address or" if otherwise else "an address or"
        raise EnvError(name, f"{word!r} is not {kinds} CIDR block: {error}") from error


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
