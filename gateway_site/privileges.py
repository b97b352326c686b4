"""Giving up root: only root binds ports below 1024 and reads some keys; nothing after that needs it."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import django

from gateway_site import env_file
from proxy.server.listen import StartRefused
from proxy.server.opened import Opened, OpenSockets, open_all
from proxy.server.tls import TlsFiles

logger = logging.getLogger(__name__)


class Account(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


def account_to_become(user: str | None, data_dir: Path) -> Account | None:
    """Whom root becomes: the named user, else the owner of the data directory. None: the process stays who it is."""
    owner = data_dir.stat()
    if user is None or user.isdecimal():
        account = _numbered(owner.st_uid if user is None else int(user), owner.st_gid)
    else:
        account = _named(user)
    if os.geteuid() == 0:
        return account if account.uid != 0 else None
    if user is not None and account.uid != os.geteuid():
        raise StartRefused(f"--user {user}: only root becomes another user")
    return None


def give_up_root(
    account: Account, open_sockets: OpenSockets, tls: tuple[TlsFiles, ...], data_dir: Path, code: Path
) -> Opened:
    """For good. Raises StartRefused, also where this user could not serve."""
    opened = open_all(open_sockets, tls)
    _become(account)
    for problem in _out_of_reach(data_dir, code):
        raise StartRefused(f"as the user {account.name} the gateway {problem}")
    for _, key in tls:
        if not os.access(key, os.R_OK):
            logger.warning("the certificate cannot be renewed: %s cannot be read by the user %s", key, account.name)
    logger.info("root was given up: serving as the user %s", account.name)
    return opened


def _become(account: Account) -> None:
    try:
        if account.name.isdecimal():
            os.setgroups([])
        else:
            os.initgroups(account.name, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise StartRefused(f"cannot become the user {account.name}: {error.strerror}") from error
    # Libraries look for their files there, libpq for certificates.
    os.environ.update(HOME=account.home, USER=account.name, LOGNAME=account.name)


def _out_of_reach(data_dir: Path, code: Path) -> Iterator[str]:
    for directory in (code, Path(django.__file__).parent, Path(os.__file__).parent):
        if not os.access(directory, os.R_OK | os.X_OK):
            yield f"cannot read its code in {directory}"
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        yield f"cannot write to AUTHGATE_DATA_DIR: chown -R {data_dir} to that user"
        return
    for path in sorted(data_dir.iterdir()):
        if path.name == env_file.IN_DATA_DIR:  # root's, as it should be: see env_file
            if not os.access(path, os.R_OK):
                yield f"cannot read {path}: let a group of that user read it"
        elif path.is_file() and not os.access(path, os.R_OK | os.W_OK):
            yield f"cannot write to {path}: chown -R {data_dir} to that user"


def _named(user: str) -> Account:
    try:
        return _account(pwd.getpwnam(user))
    except KeyError as error:
        raise StartRefused(f"--user {user}: there is no such user") from error


def _numbered(uid: int, gid: int) -> Account:
    """It may have no name here, as in a container."""
    try:
        return _account(pwd.getpwuid(uid))
    except (KeyError, OverflowError):
        return Account(str(uid), uid, gid, "/")


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
