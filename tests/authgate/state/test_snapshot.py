from __future__ import annotations

import gc
import json
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import psycopg
import pytest
import yaml
from msgspec.structs import replace

from authgate.models import versions
from authgate.models.policy import PolicyRevision
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument, PolicyInvalid, parse_yaml, to_json
from authgate.policy.pace import politely
from authgate.policy.powers import Machine
from authgate.policy.rows import apply_document
from authgate.state import watcher
from authgate.state.trust import load_trust
from tests.support.gateway import ROOT, environment, manage
from tests.support.policies import demo_policy

DEMO = demo_policy("http://127.0.0.1:8080")


def store(document, number=1):
    """A revision as an earlier version, or somebody with a database shell, may have left it."""
    text = document if isinstance(document, str) else to_json(document)
    return PolicyRevision.objects.create(number=number, author="test", document=text)


@pytest.mark.django_db
def test_before_the_first_revision_everything_is_denied():
    loaded = watcher.load()
    assert (loaded.revision, loaded.document, loaded.table.match("h", "/", "GET")) == (0, PolicyDocument(), None)


@pytest.mark.django_db
@pytest.mark.parametrize("pace", [list, politely], ids=["at-once", "politely"])
def test_the_latest_revision_is_loaded_whole(pace):
    revisions.replace(PolicyDocument(), Machine("test"))
    revisions.replace(parse_yaml(DEMO), Machine("test"))
    loaded = watcher.load(pace=pace)
    assert (loaded.revision, loaded.document) == (2, parse_yaml(DEMO))
    assert loaded.table.match("h", "/api/admin/x", "GET").route.name == "admin"
    assert loaded.grants.roles_of({"groups": ["platform-admins"]}) == {"admin", "user"}
    assert loaded.trust.jwks == load_trust().jwks


@pytest.mark.django_db
def test_rows_without_a_revision_count_for_nothing():
    revisions.replace(PolicyDocument(), Machine("test"))
    apply_document(parse_yaml(DEMO))
    assert watcher.load().table.match("h", "/api/public", "GET") is None


@pytest.mark.django_db
def test_every_snapshot_forgets_the_identities_of_the_one_before():
    assert watcher.load().identities is not watcher.load().identities


@pytest.mark.django_db
def test_a_stored_route_that_no_longer_validates_is_kept_and_marked(settings):
    revisions.replace(parse_yaml(DEMO), Machine("test"))
    settings.AUTHGATE_AUTH_PREFIX = "/api/admin"
    assert "belongs to the gateway" in watcher.load().table.match("h", "/api/admin", "GET").problem


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEMO.replace("path: /api/admin,", "path: /api/%61dmin,"), "write it as /api/admin"),
        (DEMO.replace("access: public", "access: open"), "must be one of"),
        (None, "not JSON"),
    ],
    ids=["no-place", "shape", "garbage"],
)
def test_a_stored_policy_with_a_route_that_cannot_be_placed_is_not_loaded(text, message):
    store(json.dumps({"rate_limits": {}} | yaml.safe_load(text)) if text else "{")
    with pytest.raises(PolicyInvalid, match=message):
        watcher.load()


# --- a real process that watches a real database --------------------------------------------------------------------
WATCH = """
import json, sys, time
import django
django.setup()
from authgate.state import snapshot, watcher
if sys.argv[1:] == ["fork"]:
    import os
    watcher.start_watching()
    if os.fork():
        os.wait()
        sys.exit()
watcher.start_watching()
seen = None
while True:
    current = snapshot.current()
    now = (current and current.revision, watcher.fault(), id(current))
    if now != seen:
        print(json.dumps(now[:2]), flush=True)
        seen = now
    time.sleep(0.02)
"""


class Watching:
    def __init__(self, env, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCH, *args],
            env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.changes = queue.SimpleQueue()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        with self.process.stdout as lines:
            for line in lines:
                self.changes.put(json.loads(line))

    def next(self, timeout=20.0):
        """The next change: [revision, fault]."""
        return self.changes.get(timeout=timeout)

    def until(self, wanted, timeout=20.0):
        deadline = time.monotonic() + timeout
        while self.next(max(0, deadline - time.monotonic())) != wanted:
            pass

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join()


@pytest.fixture
def env(gateway_template, tmp_path):
    shutil.copytree(gateway_template, tmp_path / "data")
    return environment(tmp_path / "data")


@pytest.fixture
def watch(env):
    started = []

    def watch(*args, env=env):
        started.append(Watching(env, *args))
        return started[-1]

    yield watch
    for watching in started:
        watching.stop()


def publish(env, policy=DEMO):
    result = manage(env, "policy", "import", "-", stdin=policy)
    assert result.returncode == 0, result.stderr


def execute(env, statement):
    with sqlite3.connect(f"{env['AUTHGATE_DATA_DIR']}/authgate.sqlite3") as database:
        database.execute(statement)
    database.close()


@pytest.mark.parametrize("args", [(), ("fork",)], ids=["plain", "after-fork"])
def test_what_is_published_is_live_within_two_seconds(env, watch, args):
    watching = watch(*args)
    assert watching.next() == [0, None]
    publish(env)
    begin = time.monotonic()
    watching.until([1, None])
    assert time.monotonic() - begin < 2


def test_a_change_of_trust_makes_a_new_snapshot_of_the_same_policy(env, watch):
    publish(env)
    watching = watch()
    assert watching.next() == [1, None]
    execute(env, "INSERT INTO authgate_stateversion VALUES ('trust', 99) ON CONFLICT (name) DO UPDATE SET value = 99")
    assert watching.next() == [1, None]


def test_a_policy_that_cannot_be_loaded_leaves_the_last_good_one_and_says_why(env, watch):
    publish(env)
    watching = watch()
    assert watching.next() == [1, None]
    execute(
        env,
        "INSERT INTO authgate_policyrevision (number, created_at, author, comment, document)"
        " VALUES (2, '2026-01-01', '', '', '{')",
    )
    execute(env, "UPDATE authgate_stateversion SET value = value + 1 WHERE name = 'policy'")
    revision, fault = watching.next()
    assert revision == 1
    assert fault.startswith("not JSON")
    execute(env, "DELETE FROM authgate_policyrevision WHERE number = 2")
    watching.until([1, None])


def test_a_vanished_database_leaves_the_last_good_policy_until_it_is_back(env, watch):
    publish(env)
    watching = watch()
    assert watching.next() == [1, None]
    data, away = env["AUTHGATE_DATA_DIR"], env["AUTHGATE_DATA_DIR"] + "-away"
    os.rename(data, away)
    revision, fault = watching.next()
    assert revision == 1
    assert fault.startswith("database: ")
    os.rename(away, data)
    watching.until([1, None])


def test_a_restored_backup_is_followed(env, watch):
    backup = f"{env['AUTHGATE_DATA_DIR']}/backup.sqlite3"
    publish(env)
    with sqlite3.connect(f"{env['AUTHGATE_DATA_DIR']}/authgate.sqlite3") as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    publish(env, DEMO.replace("8080", "8081"))
    watching = watch()
    assert watching.next() == [2, None]
    os.replace(backup, f"{env['AUTHGATE_DATA_DIR']}/authgate.sqlite3")
    watching.until([1, None])


def test_without_any_policy_loaded_nothing_is_allowed_and_the_fault_says_why(env, watch):
    os.unlink(f"{env['AUTHGATE_DATA_DIR']}/authgate.sqlite3")
    revision, fault = watch().next()
    assert revision is None
    assert "authgate.sqlite3' is not there" in fault


def test_a_lost_connection_to_postgresql_is_made_again(env, watch, on_postgresql):
    env = {**env, **on_postgresql()["env"]}
    publish(env)
    watching = watch(env=env)
    assert watching.next() == [1, None]
    with psycopg.connect(env["AUTHGATE_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
    publish(env, DEMO.replace("8080", "8081"))
    watching.until([2, None])


@pytest.mark.django_db
def test_a_reload_works_in_short_bursts():
    document = parse_yaml(DEMO)
    routes = tuple(replace(document.routes[0], name=f"r{i}", path=f"/s{i}") for i in range(3000))
    store(replace(document, routes=routes))
    spans = []

    def pace(items):
        for item in items:
            begin = time.thread_time()
            yield item
            spans.append(time.thread_time() - begin)

    gc.disable()  # the heap of a whole test run is not that of a worker
    try:
        watcher.load(pace=pace)
    finally:
        gc.enable()
    # Read, validated, checked for ties, placed, and set below others: one by one, and none of it takes long.
    assert len(spans) == 5 * 3000
    assert sum(spans) < 2
    assert max(spans) < 0.005


@pytest.mark.django_db
def test_the_counters_are_read_in_one_query(django_assert_num_queries):
    versions.bump("policy")
    versions.bump("trust")
    with django_assert_num_queries(1):
        assert set(watcher._read_versions()) == {"policy", "trust"}
