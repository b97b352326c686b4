"""What operators see of targets: over REST, in the admin, by the command. Across workers, and when one dies."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from authgate.state import live_upstreams
from authgate.state.live_upstreams import Board, TargetState
from tests.support.certificates import make_certificates
from tests.support.dead_targets import Blackhole, refused_target
from tests.support.gateway import Gateway
from tests.support.rest import account, robot
from tests.support.scripted import answer
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["http1", "http2"])
def workers(request, gateway_template, session_upstream, tmp_path_factory):
    text = f"""\
version: 1
upstreams:
  api: {{targets: ["{refused_target()}", "{session_upstream.target}"]}}
  unused: {{targets: ["http://127.0.0.1:1"]}}
roles: {{robot: {{admin: api}}}}
routes:
  - {{name: api, path: /api, access: public, upstream: api}}
"""
    data_dir = tmp_path_factory.mktemp("live") / "data"
    with Gateway(data_dir, template=gateway_template, policy=text, workers=2, args=request.param) as gateway:
        yield gateway.start()
        assert "Traceback" not in gateway.output


def health(gateway):
    reply = robot(gateway).get("/upstreams/health")
    assert reply.status == 200
    return {entry["name"]: entry["targets"] for entry in reply.body["results"]}


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_is_told_over_all_workers_which_targets_fail_and_how_busy_they_are(workers, upstream):
    go = threading.Event()

    def hold(connection, request):
        go.wait(20)
        connection.send(answer())

    upstream.reply(hold)
    with ThreadPoolExecutor(8) as threads:
        held = [threads.submit(workers.get, "/api/x") for _ in range(8)]
        wait_until(lambda: health(workers)["api"][1]["in_flight"] == 8)
        dead, live = health(workers)["api"]
        assert (live["health"], live["last_error"]) == ("up", None)
        assert (dead["health"], dead["in_flight"], dead["last_error"]) == ("failing", 0, "Connection refused")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", dead["last_error_at"])
        go.set()
        assert {each.result().status for each in held} == {200}
    wait_until(lambda: health(workers)["api"][1]["in_flight"] == 0)
    assert health(workers)["unused"][0]["health"] == "unused"


def test_the_admin_shows_it_in_the_list_and_on_the_page(workers, upstream):
    upstream.reply(answer())
    wait_until(lambda: workers.get("/api/x").status == 200 and health(workers)["api"][0]["health"] == "failing")
    root = account(workers, "root", is_superuser=True)

    def page(path):
        return workers.get(f"/admin/authgate/upstream/{path}", headers=list(root.headers.items())).text

    listed = page("?q=api")
    assert "failing, up" in listed
    number = re.search(r"/admin/authgate/upstream/(\d+)/change/", listed)[1]
    shown = page(f"{number}/change/")
    assert "failing, 0 in flight" in shown
    assert "Connection refused" in shown


def test_a_worker_that_dies_takes_only_its_own_with_it(workers, upstream):
    upstream.reply(answer())
    killed = workers.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(pids := workers.worker_pids()) == 2 and killed not in pids)
    wait_until(lambda: workers.get("/api/x").status == 200 and health(workers)["api"][1]["health"] == "up")


def state(number=0, **values):
    of = {"upstream": "api", "target": f"http://t{number}", "is_down": False, "left_out_until": 0.0, "in_flight": 1}
    return TargetState(**{**of, "is_failing": False, "last_error": "", "last_error_at": 0.0, **values})


def test_without_shared_memory_a_process_knows_of_itself():
    board = Board()
    board.write([state()])
    assert board.read() == [[state()]]


def test_what_is_old_is_not_told_and_what_is_too_much_is_cut(monkeypatch):
    board = Board()
    board.prepare()
    monkeypatch.setattr(board._places, "size", 4096)
    board.write([*(state(n, in_flight=0) for n in range(500)), state(1000, is_down=True)])
    (read,) = board.read()
    assert 20 < len(read) < 500
    assert read[0].is_down
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + live_upstreams.FRESH_SECONDS + 1)
    assert board.read() == [board._own]


def test_the_command_says_what_is_wrong_and_what_to_do(gateway_template, tmp_path, upstream):
    certificates = make_certificates(tmp_path)
    hole = Blackhole()
    upstream.reply(answer(status="503 Not Well"), path="/up")
    with (
        RecordingUpstream(tls=certificates.server_context()) as tls,
        Gateway(tmp_path / "data", template=gateway_template) as gateway,
    ):
        port = upstream.port
        gateway.import_policy(f"""\
version: 1
upstreams:
  good: {{targets: ["{upstream.target}", "http://localhost:{port}"]}}
  bad:
    timeouts: {{connect: 0.5}}
    targets:
      - "{refused_target()}"
      - "{hole.target}"
      - "http://no-such-host.invalid"
      - "unix:{tmp_path}/none"
      - "https://localhost:{tls.port}"
      - "https://127.0.0.1:{port}"
      - "{upstream.target}"
  unwell: {{targets: ["{upstream.target}"], health: {{path: /up}}}}
  misnamed:
    targets: ["https://127.0.0.1:{tls.port}"]
    tls: {{ca_file: {certificates.ca_file}, server_name: other.internal}}
""")
        good = gateway.run("upstream", "check", "good")
        assert (good.returncode, good.stderr) == (0, "")
        assert good.stdout.splitlines() == [
            f"ok    {upstream.target}: / answers with status 200",
            f"ok    http://localhost:{port}: 127.0.0.1: / answers with status 200",
        ]
        bad = gateway.run("upstream", "check", "bad")
        assert bad.returncode == 1
        assert bad.stderr.strip().endswith("6 of 7 targets of bad failed")
        lines = bad.stdout.splitlines()
        assert "Connection refused; nothing listens on port" in lines[0]
        assert "no connection within 0.5 s (timeouts.connect); a firewall may drop it" in lines[1]
        assert "name: " in lines[2] and "check its spelling" in lines[2]
        assert "there is no such socket" in lines[3]
        assert "its certificate is not trusted" in lines[4] and "tls.ca_file names the authority" in lines[4]
        assert lines[5].startswith("FAIL")
        assert lines[6] == f"ok    {upstream.target}: / answers with status 200"
        assert "/up answers with status 503" in gateway.run("upstream", "check", "unwell").stdout
        assert "tls.server_name says which" in gateway.run("upstream", "check", "misnamed").stdout
        unknown = gateway.run("upstream", "check", "god")
        assert "there is no upstream 'god' in the live policy; did you mean 'good'?" in unknown.stderr
    hole.close()


def test_rest_only_tells_whoever_may_see_upstreams(workers):
    assert account(workers, "viewer", "view_upstream").get("/upstreams/health").status == 200
    assert account(workers, "nobody", "view_role").get("/upstreams/health").status == 403
