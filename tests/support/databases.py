"""Two connections at once, on SQLite and on PostgreSQL: what one does while the other holds what it has locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.gateway import Gateway
from tests.support.postgres import Postgres

_TWO = """
import json, threading, time
from django.db import connection, transaction
{setup}
done, names, waited = threading.Event(), ["", ""], [0.0]
states = [load(), load()]
def first():
    try:
        with transaction.atomic():
            exec(compile({first!r}, "first", "exec"), states[0])
            done.set()
            time.sleep(0.6)
    except Exception as error:
        names[0] = type(error).__name__
    finally:
        done.set()
        connection.close()
def second():
    done.wait(10)
    try:
        with transaction.atomic():
            exec(compile({second!r}, "second", "exec"), states[1])
    except Exception as error:
        names[1] = type(error).__name__
    finally:
        connection.close()
threads = [threading.Thread(target=act) for act in (first, second)]
[thread.start() for thread in threads]
[thread.join(20) for thread in threads]
{result}
"""
# With `provider`.
SIGN_IN = """
from types import SimpleNamespace
from authgate.sessions import store
proven = SimpleNamespace(subject="7", email="", name="", claims={})
tokens = SimpleNamespace(access_token="a", id_token="", refresh_token="", expires_in=None)
store.start(proven, tokens, provider, host="", address="", user_agent="", replaces=None)
"""
_NAMES = "print(json.dumps(names))"


@pytest.fixture(scope="session")
def on_postgresql(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, Any]]:
    """Each call: what Gateway needs for a migrated database of its own on PostgreSQL. Migrated once, then copied."""
    url = postgres.create_database()
    migrated = Gateway(tmp_path_factory.mktemp("postgresql") / "data", env={"AUTHGATE_DATABASE_URL": url})
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    return lambda: {
        "template": migrated.data_dir,
        "env": {"AUTHGATE_DATABASE_URL": postgres.create_database(like=str(name))},
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, gateway_template: Path) -> Iterator[Gateway]:
    """A gateway that is not started, with an empty database of its own."""
    options: dict[str, Any] = {"template": gateway_template}
    if request.param == "postgresql":
        options = request.getfixturevalue("on_postgresql")()
    with Gateway(tmp_path / "data", **options) as gateway:
        yield gateway


def run_two(gateway: Gateway, setup: str, first: str, second: str, result: str = _NAMES) -> str:
    """`second` begins once `first` has done its part, and before it commits. `setup` defines `load`: the names that
    each of them sees. Printed: the name of the exception that each has met.
    """
    code = _TWO.format(setup=setup, first=first, second=second, result=result)
    return gateway.shell.run(code)
