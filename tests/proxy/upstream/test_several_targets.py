"""Upstreams with several targets: who gets which request, and what the others cost when one fails."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support import raw
from tests.support.crowd import Crowd
from tests.support.dead_targets import Blackhole, refused_target
from tests.support.gateway import Gateway, free_port
from tests.support.scripted import Kept, Script, ThenClose, answer, assert_refusal
from tests.support.streams import Torrent
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def blackhole():
    hole = Blackhole()
    yield hole
    hole.close()


@pytest.fixture(scope="module")
def both():
    with RecordingUpstream() as one, RecordingUpstream() as two:
        yield one, two


@pytest.fixture(autouse=True)
def targets(both):
    for number, target in enumerate(both):
        target.clear()
        target.reply(Kept(answer(body=b"%d" % number)))
    return both


def policy(one: str, two: str, hole: str) -> str:
    dead = refused_target()
    late, crowd = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    upstreams = {
        "turns": f'targets: ["{one}", "{two}"]',
        "weighted": f'targets: ["{one}", "{two}"], weights: {{"{one}": 3}}',
        "least": f'targets: ["{one}", "{two}"], balance: least_connections',
        "client": f'targets: ["{one}", "{two}"], balance: client',
        "cookie": f'targets: ["{one}", "{two}"], balance: cookie',
        "deadcookie": f'targets: ["{one}", "{late}"], balance: cookie',
        "half": f'targets: ["{dead}", "{two}"]',
        "slowhalf": f'targets: ["{hole}", "{two}"], timeouts: {{connect: 0.6}}',
        "impatient": f'targets: ["{hole}", "{two}"], timeouts: {{connect: 4}}',
        "late": f'targets: ["{late}", "{two}"]',
        "none": f'targets: ["{dead}", "{refused_target()}"]',
        "breaking": f'targets: ["{one}", "{two}"], timeouts: {{response: 0.5}}',
        "told": f'targets: ["{one}", "{two}"]',
        "crowd": f'targets: ["{crowd}", "{two}"]',
        "once": f'targets: ["{one}", "{two}"], retries: 0',
        "failing": f'targets: ["{one}", "{two}"], timeouts: {{response: 0.3}}, retries: 0',
        "narrow": f'targets: ["{one}"], connections: 1, queue: 1, queue_timeout: 5',
        "hasty": f'targets: ["{one}"], connections: 1, queue_timeout: 0.4',
        "narrowtwo": f'targets: ["{one}", "{two}"], connections: 1',
        "checked": f'targets: ["{one}", "{two}"], '
        "health: {path: /up, interval: 0.1, timeout: 1, healthy_after: 1, unhealthy_after: 2}",
    }
    routes = [f"  - {{name: {name}, path: /{name}, access: public, upstream: {name}}}" for name in upstreams]
    routes += [
        "  - {name: whole, path: /whole, access: public, upstream: turns, timeouts: {total: 1, response: 30}}",
        "  - {name: readers, path: /readers, access: public, upstream: readers, timeouts: {total: 0.6}}",
    ]
    upstreams["readers"] = f'targets: ["{one}", "{two}"]'
    lines = ["version: 1", "upstreams:", *(f"  {name}: {{{text}}}" for name, text in upstreams.items()), "routes:"]
    return "\n".join([*lines, *routes, ""])


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["http1", "http2"])
def several(request, gateway_template, both, blackhole, tmp_path_factory):
    text = policy(*(target.target for target in both), blackhole.target)
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"}
    data_dir = tmp_path_factory.mktemp("several") / "data"
    with Gateway(data_dir, template=gateway_template, policy=text, args=request.param, env=env) as gateway:
        gateway.start()
        gateway.policy = text
        gateway.late, gateway.crowd = (
            int(re.search(rf" {name}: .targets: .\"http://127.0.0.1:(\d+)", text)[1]) for name in ("late", "crowd")
        )
        yield gateway
        assert not re.search("Traceback|never retrieved|was destroyed|never awaited", gateway.output), gateway.output


def who(gateway, path, times, **options) -> str:
    """The numbers of the targets that answered."""
    answers = [gateway.get(path, **options) for _ in range(times)]
    assert {response.status for response in answers} == {200}
    return "".join(response.text for response in answers)


def asked(target, path: bytes) -> int:
    return sum(request.path == path for request in target.requests)


def connections(target, path: bytes) -> int:
    return len({request.connection for request in target.requests if request.path.startswith(path)})


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_targets_take_turns(several):
    assert who(several, "/turns", 6) in ("010101", "101010")


def test_a_weight_is_exact_over_a_cycle_and_spread_over_it(several):
    answered = who(several, "/weighted", 12)
    assert all(Counter(answered[at : at + 4]) == {"0": 3, "1": 1} for at in range(9))


def test_the_least_busy_target_is_next(several, targets):
    targets[0].reply(slow := Held(), path="/least/held")
    targets[1].reply(slow, path="/least/held")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(several.get, "/least/held")
        assert slow.came.wait(5)
        busy = 0 if asked(targets[0], b"/least/held") else 1
        assert who(several, "/least/x", 4) == str(1 - busy) * 4
        slow.go.set()
        assert waiting.result().status == 200


class Held:
    """Answers when told."""

    def __init__(self) -> None:
        self.came, self.go = threading.Event(), threading.Event()

    def __call__(self, connection, request):
        self.came.set()
        self.go.wait(10)
        connection.send(answer(body=b"held"))
        connection.keep_alive = True


def test_a_client_stays_with_its_target_and_clients_are_spread(several):
    def of(number):
        return who(several, "/client", 3, headers=[("X-Forwarded-For", f"10.0.0.{number}")])

    answered = [of(number) for number in range(24)]
    assert set(answered) == {"000", "111"}
    assert answered == [of(number) for number in range(24)]


def test_a_browser_stays_with_its_target_by_a_cookie_that_names_none(several, targets):
    first = several.get("/cookie")
    cookie = first.header("set-cookie")
    assert re.fullmatch(r"authgate_target_[0-9a-f]{12}=[0-9a-f]{24}; Path=/; HttpOnly; SameSite=Lax", cookie)
    sent = [("Cookie", f"theirs=1; {cookie.partition(';')[0]}")]
    for _ in range(4):
        again = several.get("/cookie", headers=sent)
        assert (again.text, again.header("set-cookie")) == (first.text, None)
    assert {value for target in targets for each in target.requests for value in each.all("cookie")} == {"theirs=1"}
    assert several.get("/cookie", headers=[("Cookie", f"{cookie.partition('=')[0]}=forged")]).header("set-cookie")


def test_a_browser_whose_target_is_gone_gets_another_and_its_cookie(several, targets):
    with RecordingUpstreamAt(several.late) as late:
        late.reply(Kept(answer(body=b"late")))
        cookie = next(
            response.header("set-cookie") for response in iter(lambda: several.get("/deadcookie"), None)
            if response.text == "late"
        )  # fmt: skip
    for _ in range(3):
        again = several.get("/deadcookie", headers=[("Cookie", cookie.partition(";")[0])])
        assert again.text == "0"
        assert again.header("set-cookie") not in (None, cookie)


class RecordingUpstreamAt(RecordingUpstream):
    def __init__(self, port):
        super().__init__(port=port)


def test_a_target_that_is_dead_fails_no_request_and_is_left_out(several):
    assert who(several, "/half", 10) == "1" * 10
    wait_until(lambda: re.search(r"upstream half, target \S+: is left out for \d+ s: ", several.output))


def test_a_target_that_swallows_connections_costs_one_time_out(several):
    began = time.monotonic()
    assert who(several, "/slowhalf", 12) == "1" * 12
    assert 0.5 < time.monotonic() - began < 1.1


def test_clients_who_wait_less_than_the_gateway_find_it_out_too(several):
    for _ in range(2):
        with several.connect() as client:
            client.send(raw.request("GET", "/impatient", host=f"localhost:{several.port}"))
            time.sleep(1.3)
    assert who(several, "/impatient", 4) == "1111"
    assert "upstream impatient, target " in several.output


def test_a_target_comes_back_when_one_request_has_found_it_well(several):
    assert who(several, "/late", 4) == "1111"
    with RecordingUpstreamAt(several.late) as late:
        late.reply(Kept(answer(body=b"late")))
        wait_until(lambda: several.get("/late").text == "late")
        assert {several.get("/late").text for _ in range(2)} == {"late", "1"}


def test_all_targets_dead_is_told_and_costs_no_waiting(several):
    for _ in range(3):
        assert_refusal(several.get("/none"), 502)


@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_request_that_was_lost_without_an_answer_goes_to_the_other_target(several, targets, kept, method):
    if kept:
        who(several, "/breaking", 2)
    for target in targets:
        target.requests.clear()
        target.reply(ThenClose(reset=True), path="/breaking/x")
    targets[1].reply(Kept(answer(body=b"1")), path="/breaking/x")
    for _ in range(2):
        assert several.request("/breaking/x", method=method).status == 200


@pytest.mark.parametrize("path", ["/breaking/x", "/once/x"])
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
def test_a_post_is_never_sent_twice(several, targets, path, kept):
    if kept:
        who(several, path.replace("x", "warm"), 2)
    for target in targets:
        target.reply(ThenClose(reset=True), path=path)
    assert_refusal(several.request(path, method="POST", body=b""), 502)
    assert_refusal(several.request(path, method="PUT", body=b"body"), 502)
    assert asked(targets[0], path.encode()) + asked(targets[1], path.encode()) == 2


def test_without_retries_nothing_is_sent_twice(several, targets):
    for target in targets:
        target.reply(ThenClose(reset=True), path="/once/x")
    assert_refusal(several.get("/once/x"), 502)
    assert asked(targets[0], b"/once/x") + asked(targets[1], b"/once/x") == 1


def test_that_another_target_was_asked_is_told(several, targets):
    targets[0].reply(ThenClose(reset=True), path="/told")
    assert who(several, "/told", 2, headers=[("X-Forwarded-For", "10.0.1.1")]) == "11"
    told = f"target {targets[0].target}: GET /told: reset the connection without an answer; another"
    wait_until(lambda: told in several.output)


def test_a_target_that_answers_nothing_is_given_up_for_the_other(several, targets):
    targets[0].reply(Script(), path="/breaking/hangs")
    for _ in range(2):
        assert several.get("/breaking/hangs").text == "1"


def test_the_time_for_a_whole_request_does_not_begin_anew_with_another_target(several, targets):
    for target in targets:
        target.reply(Script(), path="/whole/hangs")
    began = time.monotonic()
    assert several.get("/whole/hangs").status == 504
    assert time.monotonic() - began < 1.8
    assert sum(asked(target, b"/whole/hangs") for target in targets) == 1


def test_clients_who_read_slowly_are_no_fault_of_the_targets(several, targets):
    torrents = [Torrent(30) for _ in targets]
    for target, torrent in zip(targets, torrents, strict=True):
        target.reply(torrent, path="/readers/much")
    with ExitStack() as stack:
        for _ in range(8):  # four for each, of which three in a row would do
            client = stack.enter_context(several.connect(receive_buffer=65536, source="127.0.0.77"))
            client.send(raw.request("GET", "/readers/much", host=f"localhost:{several.port}"))
        wait_until(lambda: all(torrent.ended.is_set() for torrent in torrents))
        time.sleep(0.5)  # the others end by the same clock
    assert not re.search("upstream readers, target .* left out", several.output)


def test_several_bad_answers_in_a_row_leave_a_target_out(several, targets):
    targets[0].reply(Script(), path="/failing/hangs")
    answered = [several.get("/failing/hangs").status for _ in range(8)]
    assert answered.count(504) == 3
    assert asked(targets[0], b"/failing/hangs") == 3
    wait_until(lambda: "upstream failing, target " in several.output)


def test_requests_beyond_the_connections_wait_their_turn_and_beyond_the_queue_are_refused(several, targets):
    targets[0].reply(held := Held(), path="/narrow/held")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(several.get, "/narrow/held")
        assert held.came.wait(5)
        second = threads.submit(several.get, "/narrow/next")
        time.sleep(0.3)
        third = several.get("/narrow/third")
        assert (third.status, third.json()["reason"], third.header("retry-after")) == (503, "upstream_busy", "1")
        assert asked(targets[0], b"/narrow/next") == 0
        held.go.set()
        assert (first.result().text, second.result().text) == ("held", "0")
    assert connections(targets[0], b"/narrow") == 1


def test_a_wait_in_the_queue_has_an_end(several, targets):
    targets[0].reply(held := Held(), path="/hasty/held")
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(several.get, "/hasty/held")
        assert held.came.wait(5)
        began = time.monotonic()
        assert several.get("/hasty/next").json()["reason"] == "upstream_busy"
        assert 0.3 < time.monotonic() - began < 2
        held.go.set()
        assert first.result().status == 200
    assert several.get("/hasty/after").status == 200


def test_many_requests_with_few_connections_are_all_served(several, targets):
    with ThreadPoolExecutor(16) as threads:
        answered = list(threads.map(lambda _: several.get("/narrowtwo").text, range(100)))
    assert Counter(answered).keys() == {"0", "1"}
    assert [connections(target, b"/narrowtwo") for target in targets] == [1, 1]


def test_a_target_that_fails_its_checks_gets_nothing_until_it_passes_them(several, targets):
    wait_until(lambda: asked(targets[0], b"/up") > 2)  # another test may have left it failing
    targets[0].reply(Kept(answer(status="500 Not Well")), path="/up")
    wait_until(lambda: who(several, "/checked", 4) == "1111")
    wait_until(lambda: "/up answered with status 500" in several.output)
    targets[0].reply(Kept(answer()), path="/up")
    wait_until(lambda: set(who(several, "/checked", 4)) == {"0", "1"})
    wait_until(lambda: "passes its health checks again" in several.output)


def test_if_all_fail_their_checks_all_are_tried(several, targets):
    for target in targets:
        target.reply(Kept(answer(status="503 Not Well")), path="/up")
    wait_until(lambda: all(asked(target, b"/up") > 3 for target in targets))
    assert set(who(several, "/checked", 4)) == {"0", "1"}


def test_an_edit_of_the_policy_keeps_connections_and_what_is_known(several, targets):
    who(several, "/turns", 2)
    who(several, "/half", 2)
    before = several.output.count("upstream half")
    several.import_policy(several.policy.replace("name: none,", "name: nothing,"))
    several.settle()
    who(several, "/turns", 4)
    who(several, "/half", 2)
    assert connections(targets[0], b"/turns") == 1
    assert several.output.count("upstream half") == before or "2 s" in several.output


def test_a_policy_that_is_taken_back_is_as_it_was(several, targets):
    gone = several.policy.replace(f'turns: {{targets: ["{targets[0].target}", ', "turns: {targets: [")
    assert gone != several.policy
    for text in (gone, several.policy):
        several.import_policy(text)
        several.settle()
    assert who(several, "/turns/again", 6) in ("010101", "101010")
    assert [connections(target, b"/turns/again") for target in targets] == [1, 1]


def test_no_request_that_may_be_sent_again_fails_while_a_target_dies_and_comes_back(several, targets):
    """The other one is asked meanwhile."""
    with Crowd(several, raw.request("GET", "/crowd/x", host=f"localhost:{several.port}"), connections=8) as crowd:
        for _ in range(3):
            with RecordingUpstreamAt(several.crowd) as dying:
                dying.reply(Kept(answer(body=b"dying")))
                wait_until(lambda seen=dying: len(seen.requests) > 20, 15)
    assert {asked.status for asked in crowd.asked} == {200}
