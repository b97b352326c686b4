"""Rules of the settings file, and of how the gateway is served."""

from __future__ import annotations

import os
import ssl
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Info, Tags, Warning, register

from gateway_site import env, interpreter, served
from gateway_site.env import EnvError

Apps = Sequence[AppConfig] | None

_SECRETS = ("AUTHGATE_SECRET_KEY", "AUTHGATE_DATABASE_URL", "AUTHGATE_REDIS_URL")


_PLAIN = "AUTHGATE_PUBLIC_URL is https and AUTHGATE_TRUSTED_PROXIES is empty"
_HOW_TO_HAVE_TLS = "Serve with --tls-cert and --tls-key, or name the proxy that serves TLS in AUTHGATE_TRUSTED_PROXIES."


@register(Tags.security)
def check_env_file(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    """A group may read secrets in it, as they are handed to the user of a service; nobody else may write to it."""
    path: Path | None = settings.AUTHGATE_ENV_FILE
    mode = path.stat().st_mode if path is not None and path.exists() else 0
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield _loose(f"Other users of this machine may write to {str(path)!r}: they can set this gateway up.", path)
    elif mode & stat.S_IROTH and any(env.is_in_file(name) for name in _SECRETS):
        yield _loose(f"{str(path)!r} holds secrets and is open to other users of this machine.", path)


@register(Tags.security)
def check_tls(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    """Whether TLS is served here, only `serve` knows; it notes that in the data directory."""
    last = _last_served()
    if last is None or last.public_url != settings.AUTHGATE_PUBLIC_URL:
        if is_plain_behind_nobody(tls=False):
            yield Info(f"{_PLAIN}: `serve` needs --tls-cert.", hint=_HOW_TO_HAVE_TLS, id="authgate.I071")
    elif is_plain_behind_nobody(tls=last.tls):
        yield plain_behind_nobody()


@register(Tags.security)
def check_authorities(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    """OpenSSL takes a file that it cannot use for an empty one, and says nothing."""
    variable = ssl.get_default_verify_paths().openssl_cafile_env
    name = os.environ.get(variable)
    if not name:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=name)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        cause = "it holds no PEM certificates" if isinstance(error, ssl.SSLError) else getattr(error, "strerror", error)
        yield Warning(
            f"{variable} names {name!r}, which cannot be used: {cause}. Services and identity providers whose "
            "certificates it should vouch for are not reached.",
            hint="Name a readable file of PEM certificates, or unset it to trust the system's authorities.",
            id="authgate.W072",
        )


@register("performance")
def check_interpreter(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    if not interpreter.is_optimised():
        yield Info(
            f"{sys.executable} was built without optimisation and serves about a fifth fewer requests.",
            hint="Remove .venv and make it with a Python of the system, or one built with --enable-optimizations.",
            id="authgate.I073",
        )


def is_plain_behind_nobody(*, tls: bool) -> bool:
    return settings.SECURE and not settings.AUTHGATE_TRUSTED_PROXIES and not tls


def plain_behind_nobody() -> Warning:
    consequence = "every request is taken for plain http, and all of a proxy's clients for one"
    return Warning(f"{_PLAIN}, but TLS is not served here: {consequence}.", hint=_HOW_TO_HAVE_TLS, id="authgate.W071")


def _last_served() -> served.Served | None:
    try:
        return served.read("AUTHGATE_PUBLIC_URL", settings.AUTHGATE_DATA_DIR)
    except EnvError:
        return None  # every command that needs it says so


def _loose(message: str, path: Path | None) -> Warning:
    return Warning(message, hint=f"chmod 600 {path}", id="authgate.W070")
