"""Callers at once, and callers who lose what they may do while they wait for another one. Two workers, a lock held."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.gateway import Gateway
from tests.support.holder import Holder
from tests.support.policies import demo_policy
from tests.support.rest import Rest, account, with_api

LOSING = {
    "revoked": """
from authgate.authn.compact import read_compact, read_object
from authgate.models.trust import RevokedToken
from datetime import timedelta
from django.utils import timezone
jti = read_object(read_compact(TOKEN).unverified_payload)["jti"]
RevokedToken.objects.create(jti=jti, expires_at=timezone.now() + timedelta(hours=1))
""",
    "subject revoked": """
from authgate.policy.powers import Machine
from authgate.sessions.revoking import revoke_subject
revoke_subject("subject revoked", "", Machine("another operator"))
""",
    "retired": """
from authgate.models.trust import SigningKey
from django.utils import timezone
SigningKey.objects.filter(purpose="tokens").update(retired_at=timezone.now())
""",
    "role lowered": """
from authgate.models.policy import Role
from authgate.policy import revisions
from authgate.policy.powers import Machine
Role.objects.filter(name="robot").update(admin="none")
revisions.publish(Machine("another operator"))
""",
}
ACCOUNT = "from django.contrib.auth.models import User\nUser.objects.filter(username='stan').update(CHANGE)"


@pytest.fixture(params=["sqlite", "postgresql"])
def racing(request, tmp_path, gateway_template, upstream):
    policy = with_api(demo_policy(upstream.target))
    if request.param == "sqlite":
        gateway = Gateway(tmp_path / "data", template=gateway_template, policy=policy, workers=2)
    else:
        gateway = Gateway(tmp_path / "data", policy=policy, workers=2, **request.getfixturevalue("on_postgresql")())
    with gateway:
        yield gateway.start()


def waiting_put(gateway: Gateway, rest: Rest, change: str) -> int:
    """The status of a PUT that waits while this is changed."""
    with Holder(gateway) as holder, ThreadPoolExecutor(1) as pool:
        holder.hold(change)
        put = pool.submit(rest.put, "/limits/late", {"rate": "1/s"})
        time.sleep(0.7)
        assert not put.done()
        holder.release()
        return put.result().status


def test_of_many_who_change_the_same_at_once_one_is_not_told_to_look_again(racing):
    rest = Rest(racing, racing.mint("ci", roles=("robot",)))
    seen = rest.put("/limits/shared", {"rate": "1/s"}).etag
    with ThreadPoolExecutor(8) as pool:
        rates = [{"rate": f"{number + 2}/s"} for number in range(8)]
        replies = list(pool.map(lambda rate: rest.put("/limits/shared", rate, if_match=seen), rates))
    assert sorted(reply.status for reply in replies) == [200, *[412] * 7]
    won = next(reply for reply in replies if reply.status == 200)
    assert rest.get("/limits/shared").body == won.body


def test_a_caller_who_loses_it_while_waiting_changes_nothing(racing):
    operator = account(racing, "stan", "add_ratelimit")
    assert waiting_put(racing, operator, ACCOUNT.replace("CHANGE", "is_active=False")) == 403
    for name, change in LOSING.items():
        rest = Rest(racing, racing.mint(name, roles=("robot",)))
        status = waiting_put(racing, rest, change.replace("TOKEN", repr(rest.token.encode())))
        assert status == 403
    assert account(racing, "root", is_superuser=True).get("/limits/late").status == 404


def test_a_permission_that_is_taken_away_while_waiting_is_gone(racing):
    operator = account(racing, "stan", "add_ratelimit")
    take = "from django.contrib.auth.models import User\nUser.objects.get(username='stan').user_permissions.clear()"
    assert waiting_put(racing, operator, take) == 403
    assert waiting_put(racing, account(racing, "stan", "add_ratelimit"), "") == 201
