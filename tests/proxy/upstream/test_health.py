"""What is known of targets, and who gets a request by it: against targets that misbehave at random."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from authgate.policy.schema import PolicyDocument, Upstream
from proxy.upstream import worker
from proxy.upstream.balancer import Balancer, cycle_of
from proxy.upstream.budget import ALWAYS, RetryBudget
from proxy.upstream.health import BAD_ANSWERS, FIRST_SECONDS, LONGEST_SECONDS, Health

REQUEST = SimpleNamespace(facts=SimpleNamespace(client="10.0.0.1", headers=()))
CHECK = {"healthy_after": 2, "unhealthy_after": 3}


def test_no_connection_leaves_a_target_out_at_once_and_longer_each_time():
    health, now, seconds = Health(), 100.0, []
    for _ in range(8):
        assert health.may_serve(now)
        health.begin_trial(now)
        assert health.failed(now, at_once=True)
        seconds.append(health.left_out_until - now)
        assert not health.may_serve(now)
        now = health.left_out_until
    assert seconds == [FIRST_SECONDS * 2**n for n in range(6)] + [LONGEST_SECONDS] * 2


def test_bad_answers_leave_it_out_only_in_a_row():
    health = Health()
    for _ in range(10):
        assert not any(health.failed(5, at_once=False) for _ in range(BAD_ANSWERS - 1))
        health.answered(0)
    assert health.may_serve(5)
    assert [health.failed(5, at_once=False) for _ in range(BAD_ANSWERS)][-1]


def test_failures_that_began_before_it_was_left_out_do_not_count_again():
    health = Health()
    assert [health.failed(5, at_once=True) for _ in range(30)].count(True) == 1
    assert health.left_out_until == 5 + FIRST_SECONDS


def test_one_request_tries_it_while_the_others_go_on_without_it():
    health = Health()
    health.failed(5, at_once=True)
    assert health.may_serve(6)
    health.begin_trial(6)
    assert not health.may_serve(6)
    assert health.answered(6)
    assert health.may_serve(6)
    assert health.is_clean


def test_a_trial_that_nobody_hears_of_again_is_followed_by_another():
    health = Health()
    health.failed(5, at_once=True)
    health.begin_trial(6)
    assert health.may_serve(6 + FIRST_SECONDS)


def test_answers_on_old_connections_do_not_bring_it_back():
    health = Health()
    health.failed(5, at_once=True)
    assert not health.answered(4)
    assert not health.may_serve(5)
    assert health.answered(5.5)


def test_checks_take_it_out_and_bring_it_back():
    health = Health()
    assert [health.checked(good=False, **CHECK) for _ in range(4)] == [False, False, True, False]
    assert not health.may_serve(0)
    assert [health.checked(good=good, **CHECK) for good in (True, False, True, True)] == [False, False, False, True]
    assert health.may_serve(0)


def test_retries_are_a_share_of_the_requests_and_a_few():
    budget = RetryBudget()
    assert [budget.take(0, 1.0) for _ in range(ALWAYS + 2)] == [True] * ALWAYS + [False] * 2
    assert [budget.take(100, 2.0) for _ in range(21)] == [True] * 20 + [False]
    assert budget.take(100, 12.5) is False  # counted with the window before
    assert budget.take(100, 40.0) is True


def test_weights_are_exact_and_spread():
    one, two, three = (SimpleNamespace(name=name) for name in "abc")
    assert "".join(each.name for each in cycle_of([one, two, three], Weights({"a": 4, "b": 2, "c": 2}))) == "abca"
    assert len(cycle_of([one, two, three], Weights({"a": 5, "b": 5, "c": 5}))) == 3


class Weights:
    def __init__(self, by_name):
        self._by_name = by_name

    def __getitem__(self, endpoint):
        return self._by_name[endpoint.name]


class FakeTarget:
    """As Endpoint shows itself to the balancer; what a request meets there is the machine's to say."""

    def __init__(self, number: int) -> None:
        self.target = f"http://target{number}"
        self.health = Health()
        self.in_use = 0
        self.mood = "well"


class Misbehaving(RuleBasedStateMachine):
    """Requests as Group makes them, over targets that refuse, answer badly, hang and recover."""

    @initialize(
        balance=st.sampled_from(["round_robin", "least_connections", "client"]),
        weights=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    )
    def begin(self, balance, weights):
        self.now = 1000.0
        self.targets = [FakeTarget(number) for number in range(len(weights))]
        of = dict(zip(self.targets, weights, strict=True))
        affinity = SimpleNamespace(find=lambda allowed: None)
        self.balancer = Balancer(self.targets, balance, of, affinity)

    @rule(which=st.integers(0, 3), mood=st.sampled_from(["well", "refuses", "bad"]))
    def change(self, which, mood):
        self.targets[which % len(self.targets)].mood = mood

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 100.0]))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(which=st.integers(0, 3), good=st.booleans())
    def check(self, which, good):
        self.targets[which % len(self.targets)].health.checked(good=good, **CHECK)

    @rule()
    def request(self):
        could = [target for target in self.targets if target.health.may_serve(self.now)]
        order = self.balancer.order(REQUEST, self.now)
        assert sorted(order, key=id) == sorted(self.targets, key=id)
        assert set(order[: len(could)]) == set(could)
        assert self.balancer.first(REQUEST, self.now) is order[0]
        tried = []
        for target in order:
            self.balancer.advance(target)
            tried.append(target)
            if self._try(target):
                break
        if any(target.mood == "well" for target in could):
            assert tried[-1].mood != "refuses"
            assert set(tried) <= set(could)  # nobody pays for one that is left out

    def _try(self, target) -> bool:
        target.health.begin_trial(self.now)
        if target.mood == "refuses":
            target.health.failed(self.now, at_once=True)
            return False
        if target.mood == "bad":
            target.health.failed(self.now, at_once=False)
        else:
            target.health.answered(self.now)
        return True

    @rule()
    def all_recover(self):
        for target in self.targets:
            target.mood = "well"
            target.health.forget_checks()
        self.now += LONGEST_SECONDS
        for _ in range(8 * len(self.targets)):
            self.request()
        if self.balancer._balance == "round_robin":
            assert all(target.health.may_serve(self.now) for target in self.targets)

    @invariant()
    def nobody_is_left_out_for_ever(self):
        for target in getattr(self, "targets", ()):
            assert target.health.left_out_until <= self.now + LONGEST_SECONDS


Misbehaving.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMisbehaving = Misbehaving.TestCase


def test_requests_of_an_earlier_policy_change_nothing_about_the_limits_of_now(monkeypatch):
    """They may still be on their way when the policy is another one."""

    async def test():
        old, new = Upstream(targets=("http://127.0.0.1:1",)), Upstream(targets=("http://127.0.0.1:1",), connections=1)
        snapshot = SimpleNamespace(document=PolicyDocument(upstreams={"api": new}), trust=None)
        monkeypatch.setattr(worker, "current", lambda: snapshot)
        of = worker.Worker(asyncio.get_running_loop())
        now = of._join("api", new)
        (endpoint,) = now.endpoints
        assert of._join("api", old) is not now
        assert endpoint.when_free is not None
        assert now._queue is not None
        assert of._join("api", Upstream(targets=("http://127.0.0.1:1",), connections=1)) is now

    asyncio.run(test())
