from __future__ import annotations

import functools
import logging
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, run_checks
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseProblem
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from authgate import ratelimit
from authgate.checks.database import KEYS_SEALED as STOPS_BY_ITSELF
from authgate.checks.database import ROWS
from authgate.observe import metrics, standard_error, tracing
from authgate.own_hosts import exposed_host, public_host, public_port
from authgate.state import hosts, live_upstreams, snapshot, watcher
from authgate.state.trouble import is_outage, missing_file, trouble_of
from authgate.state.trust import load_trust
from authgate.wire.authority import is_loopback
from gateway_site import checks, served
from gateway_site.demo import traces
from gateway_site.privileges import account_to_become, give_up_root
from proxy.server import systemd
from proxy.server.http1.limits import Limits
from proxy.server.listen import Address, StartRefused, address_of, open_listeners, parse_address
from proxy.server.opened import Opened, OpenSockets, open_all
from proxy.server.redirect import build_redirect
from proxy.server.tls import TlsFiles, tls_files

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Run the gateway: the production server."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind",
            default="127.0.0.1:8000",
            metavar="HOST:PORT",
            help="default: %(default)s; a socket of systemd's replaces it",
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=len(os.sched_getaffinity(0)),
            metavar="N",
            help="default: one for each processor, %(default)s here",
        )
        parser.add_argument(
            "--tls-cert",
            action="append",
            default=[],
            metavar="FILE",
            help="certificate chain, PEM; may be repeated, and each host gets the one that names it, else the first; "
            "default: plain http",
        )
        parser.add_argument(
            "--tls-key",
            action="append",
            default=[],
            metavar="FILE",
            help="its private key, PEM, unencrypted; one for each --tls-cert, in the same order",
        )
        parser.add_argument(
            "--http2", action="store_true", help="HTTP/2 and HTTP/1.1, served by Granian; default: HTTP/1.1"
        )
        parser.add_argument(
            "--user",
            metavar="NAME",
            help="whom root becomes once it has its ports; default: the data directory's owner",
        )
        parser.add_argument(
            "--acme-dir",
            type=Path,
            metavar="DIR",
            help="what certbot --webroot writes to; answers HTTP-01 challenges on the address of --redirect-http",
        )
        parser.add_argument(
            "--redirect-http",
            metavar="HOST:PORT",
            help="send plain http on this address to https: on the same host if a route names it, else to the public "
            "URL; default: none",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            serve(**options)
        except StartRefused as problem:
            raise CommandError(str(problem)) from problem


def serve(
    *,
    bind: str,
    workers: int,
    tls_cert: list[str],
    tls_key: list[str],
    http2: bool,
    redirect_http: str | None,
    acme_dir: Path | None = None,
    user: str | None = None,
    **_: Any,
) -> None:
    """Raises StartRefused, DatabaseError, KeyUnusable or StorageError before anything is started."""
    if workers < 1:
        raise StartRefused(f"--workers: at least 1, not {workers}")
    handed = systemd.take(os.environ)
    tls = tls_files(tls_cert, tls_key)
    main = handed.main(tls=bool(tls))
    address = parse_address("--bind", bind) if main is None else address_of(main)
    redirect_bind = _redirect_address(redirect_http, handed)
    open_sockets = functools.partial(open_listeners, address, redirect_bind, main, handed.redirect)
    if settings.AUTHGATE_OTLP_ENDPOINT and not tracing.is_available():
        raise StartRefused(
            "AUTHGATE_OTLP_ENDPOINT: the packages that send spans are not installed: "
            "python -m pip install --require-hashes -r requirements-otlp.txt "
            "(of an installed package, the extra otlp)"
        )
    if missing := missing_file():
        raise StartRefused(f"database{missing}")
    # Before anything is opened in the data directory: it would be root's.
    opened = _leave_root(user, address, open_sockets, tls)
    if opened is None and handed.sockets:
        opened = open_all(open_sockets, tls)
    _prepare()
    _examine(tls)
    _run(
        http2, bind=address, workers=workers, tls=tls, redirect_bind=redirect_bind, opened=opened,
        notifier=handed.notifier, redirect=build_redirect(settings.AUTHGATE_PUBLIC_URL, _is_services, acme_dir),
        limits=Limits(drain_seconds=settings.AUTHGATE_DRAIN_SECONDS),
        # Not before: a second one that finds the port taken is not how this gateway is served.
        when_listening=functools.partial(_when_listening, address, tls),
    )  # fmt: skip


def _when_listening(address: Address, tls: tuple[TlsFiles, ...]) -> None:
    files = tuple((cert.absolute(), key.absolute()) for cert, key in tls)
    served.record(settings.AUTHGATE_DATA_DIR, served.Served(settings.AUTHGATE_PUBLIC_URL, bool(tls), files))
    if address.port and _is_elsewhere(address):
        logger.warning(
            "sign-in, links and tokens are for %s, but the gateway listens on port %d: set AUTHGATE_PUBLIC_URL, "
            "unless something forwards that port to this one",
            settings.AUTHGATE_PUBLIC_URL, address.port,
        )  # fmt: skip


def _is_services(host: str) -> bool:
    return hosts.is_services(host, snapshot.current())


def _redirect_address(text: str | None, handed: systemd.Handed) -> Address | None:
    if handed.redirect is not None:
        source, address = "systemd hands over a socket named 'redirect'", address_of(handed.redirect)
    elif text is not None:
        source, address = "--redirect-http", parse_address("--redirect-http", text)
    else:
        return None
    if not settings.SECURE:
        raise StartRefused(f"{source}: AUTHGATE_PUBLIC_URL is not an https URL")
    return address


def _leave_root(
    user: str | None, address: Address, open_sockets: OpenSockets, tls: tuple[TlsFiles, ...]
) -> Opened | None:
    """What was opened as root, when it is root no more."""
    account = account_to_become(user, settings.AUTHGATE_DATA_DIR)
    if account is not None:
        return give_up_root(account, open_sockets, tls, settings.AUTHGATE_DATA_DIR, Path(settings.BASE_DIR))
    if os.geteuid() == 0 and user is None and _is_exposed(address):
        logger.warning("serving as root: name another user by --user, or let one own %s", settings.AUTHGATE_DATA_DIR)
    return None


def _examine(tls: tuple[TlsFiles, ...]) -> None:
    try:
        _check_database()
        _refuse_demo()
        _report_rows()
        load_trust()  # without its keys every worker would fail, each in its own words
    except DatabaseProblem as error:
        _begin_without_database(error)
    if checks.is_plain_behind_nobody(tls=bool(tls)):
        _report(checks.plain_behind_nobody())


def _begin_without_database(error: DatabaseProblem) -> None:
    """Raises the error where nothing can be begun with."""
    begun = watcher.begin_without_database() if is_outage(error) else None
    if begun is None:
        raise error
    last = "" if begun.knows_credentials else "; no credential is accepted until the database says which were revoked"
    logger.error(
        "%s: starting with the policy that was last seen, revision %d, %.0f seconds ago%s",
        trouble_of(error).full, begun.revision, begun.seconds, last,
    )  # fmt: skip


def _prepare() -> None:
    """What workers share is there before the fork."""
    ratelimit.prepare()
    watcher.prepare()
    live_upstreams.board.prepare()
    metrics.places.prepare()


def _run(http2: bool, **options: Any) -> None:
    # Imported late: they load the whole gateway, which a wrong option does not need.
    if http2:
        from proxy.server.http2.server import serve as run
    else:
        from proxy.server.processes import serve as run
    from proxy.pipeline.asgi import application
    from proxy.pipeline.direct import shortcut
    from proxy.server.processes import ServeOptions

    standard_error.keep_going(ratelimit.client_key)
    run(ServeOptions(application, shortcut=shortcut, **options))


def _is_exposed(address: Address) -> bool:
    """Whether others may reach it, by what it is called or by where it listens."""
    return exposed_host() is not None or not is_loopback(address.host.lower())


def _is_elsewhere(address: Address) -> bool:
    """Whether the public URL names another port of this machine, with no proxy that is known to lead here."""
    return is_loopback(public_host()) and address.port != public_port() and not settings.AUTHGATE_TRUSTED_PROXIES


def _refuse_demo() -> None:
    host = exposed_host()
    if host is not None and traces.is_marked():
        raise StartRefused(
            f"the database holds a demo's accounts and identity provider, which are not for {host}: set "
            "AUTHGATE_DATA_DIR to a new directory, or run `manage.py demo --remove`"
        )


def _report_rows() -> None:
    """What is wrong with rows stops nothing here: an edit in /admin/ must not keep the gateway from its next start."""
    for message in run_checks(tags=[ROWS], databases=["default"]):
        if message.id != STOPS_BY_ITSELF:
            _report(message)


def _report(message: CheckMessage) -> None:
    logger.warning("%s: %s %s", message.id, message.msg, message.hint or "")


def _check_database() -> None:
    executor = MigrationExecutor(connection)
    if pending := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise StartRefused(f"{len(pending)} unapplied migrations: run `manage.py migrate` first")
