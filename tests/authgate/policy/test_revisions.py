from __future__ import annotations

import msgspec
import pytest
from django.db import transaction

from authgate.models import versions
from authgate.models.policy import PolicyRevision, RoleGrant, Route, Upstream
from authgate.models.trust import StateVersion
from authgate.policy import revisions
from authgate.policy.compiler import compile_rows
from authgate.policy.document import Grant, PolicyDocument, PolicyInvalid, When, parse_json, parse_yaml
from authgate.policy.powers import Machine
from authgate.policy.rows import apply_document
from tests.authgate.policy.test_document import FULL
from tests.support.policies import demo_policy

DEMO = parse_yaml(demo_policy("http://127.0.0.1:8080"))


def counter(name="policy"):
    return StateVersion.objects.filter(name=name).values_list("value", flat=True).first() or 0


@pytest.mark.django_db
@pytest.mark.parametrize("document", [PolicyDocument(), DEMO, FULL], ids=["empty", "demo", "full"])
def test_rows_hold_a_document_exactly(document):
    apply_document(document)
    again = compile_rows()
    assert again == document
    assert [list(part) for part in (again.upstreams, again.roles)] == [
        list(part) for part in (document.upstreams, document.roles)
    ]


@pytest.mark.django_db
def test_applying_replaces_everything():
    apply_document(FULL)
    apply_document(DEMO)
    assert compile_rows() == DEMO


@pytest.mark.django_db
def test_publishing_numbers_stores_and_announces():
    apply_document(DEMO)
    before = counter()
    revision = revisions.publish(Machine("alice"), "first").revision
    assert (revision.number, revision.author, revision.comment) == (1, "alice", "first")
    assert parse_json(revision.document) == DEMO
    assert counter() == before + 1


@pytest.mark.django_db
def test_publishing_what_is_live_makes_no_revision():
    first = revisions.replace(DEMO, Machine("alice")).revision
    announced = counter()
    assert revisions.publish(Machine("bob")).revision.number == first.number
    assert (PolicyRevision.objects.count(), counter()) == (1, announced)


@pytest.mark.django_db
def test_an_edit_makes_the_next_revision():
    revisions.replace(DEMO, Machine("alice"))
    Route.objects.filter(name="admin").update(enabled=False)
    assert revisions.publish(Machine("bob")).revision.number == 2


@pytest.mark.django_db
def test_an_invalid_edit_is_refused_and_leaves_no_trace():
    revisions.replace(DEMO, Machine("alice"))
    announced = counter()
    with pytest.raises(PolicyInvalid) as caught, transaction.atomic():
        Route.objects.filter(name="admin").update(path="/admin")
        revisions.publish(Machine("bob"))
    assert [error.place for error in caught.value.errors] == [("routes", "admin", "path")]
    assert (PolicyRevision.objects.count(), counter()) == (1, announced)
    assert compile_rows() == DEMO


@pytest.mark.django_db
def test_a_row_that_does_not_fit_the_schema_is_named():
    revisions.replace(DEMO, Machine("alice"))
    Upstream.objects.filter(name="api").update(targets="http://a")
    with pytest.raises(PolicyInvalid, match=r"upstreams\.api\.targets: must be a list of texts"):
        revisions.publish(Machine("bob"))


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["", " ", None, [], {"a": 1}, 1.5])
def test_a_grant_row_without_a_proper_value_is_refused(value):
    revisions.replace(DEMO, Machine("alice"))
    RoleGrant.objects.filter(operator="contains").update(value=value)
    with pytest.raises(PolicyInvalid, match=r"grants\[1\]\.when"):
        revisions.publish(Machine("bob"))


@pytest.mark.django_db
def test_replacing_by_an_invalid_document_changes_nothing():
    revisions.replace(DEMO, Machine("alice"))
    with pytest.raises(PolicyInvalid):
        revisions.replace(msgspec.structs.replace(DEMO, roles={}), Machine("bob"))
    assert compile_rows() == DEMO


@pytest.mark.django_db
def test_rolling_back_restores_rows_and_makes_a_new_revision():
    revisions.replace(DEMO, Machine("alice"))
    revisions.replace(PolicyDocument(), Machine("alice"), allow_empty=True)
    revision = revisions.rollback(1, Machine("bob")).revision
    assert (revision.number, revision.author, revision.comment) == (3, "bob", "rollback to 1")
    assert compile_rows() == DEMO == revisions.live_document()


@pytest.mark.django_db
def test_rolling_back_to_a_policy_that_is_refused_today_changes_nothing(settings):
    revisions.replace(DEMO, Machine("alice"))
    revisions.replace(PolicyDocument(), Machine("alice"), allow_empty=True)
    settings.AUTHGATE_AUTH_PREFIX = "/api"
    with pytest.raises(PolicyInvalid, match="belongs to the gateway"):
        revisions.rollback(1, Machine("bob"))
    assert compile_rows() == PolicyDocument()


@pytest.mark.django_db
def test_there_is_no_rolling_back_to_an_unknown_revision():
    with pytest.raises(PolicyRevision.DoesNotExist):
        revisions.rollback(7, Machine("bob"))


@pytest.mark.django_db
def test_what_ends_up_in_a_terminal_is_printable():
    revision = revisions.replace(DEMO, Machine("a\x1b[31m"), "b\nc\udc80").revision
    assert (revision.author, revision.comment) == ("a?[31m", "b?c?")


@pytest.mark.django_db
def test_the_public_host_of_the_settings_is_reserved(settings):
    settings.AUTHGATE_PUBLIC_URL = "https://[::1]:8443"
    routes = (msgspec.structs.replace(DEMO.routes[0], host="[::1]", path="/admin"),)
    with pytest.raises(PolicyInvalid, match="belongs to the gateway"):
        revisions.replace(msgspec.structs.replace(DEMO, routes=routes), Machine("alice"))


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["policy", "trust"])
def test_a_bump_counts_one_kind_of_state_only(name):
    other = {"policy": "trust", "trust": "policy"}[name]
    before = counter(name), counter(other)
    versions.bump(name)
    versions.bump(name)
    assert (counter(name), counter(other)) == (before[0] + 2, before[1])


def change(old, **routes):
    """The demo policy with fields of routes changed, described."""
    new = tuple(msgspec.structs.replace(route, **routes.get(route.name, {})) for route in old.routes)
    return revisions.describe_changes(old, msgspec.structs.replace(old, routes=new))


@pytest.mark.parametrize(
    ("routes", "line"),
    [
        ({"admin": {"access": "authenticated", "roles": ()}},
         "route admin: access roles → authenticated, roles [admin] → none"),
        ({"public": {"methods": ("GET",)}}, "route public: methods all → [GET]"),
        ({"public": {"enabled": False}}, "route public: enabled yes → no"),
        ({"public": {"host": "a.test"}}, "route public: host any → a.test"),
        ({"public": {"strip_prefix": True, "match": "exact"}},
         "route public: match prefix → exact, strip_prefix no → yes"),
        ({"public": {"pass_headers": ("X-Remote-User", "Cf-Access-Jwt-Assertion")}},
         "route public: pass_headers none → [X-Remote-User, Cf-Access-Jwt-Assertion]"),
    ],
)  # fmt: skip
def test_a_changed_route_reads_as_one_line(routes, line):
    assert change(DEMO, **routes) == [line]


def test_nothing_changed_is_no_line():
    assert change(DEMO) == []


def test_what_is_added_and_removed_is_named():
    lines = revisions.describe_changes(FULL, DEMO)
    assert "upstream bare removed" in lines
    assert (
        "upstream api: targets [http://a:1, unix:/b] → [http://127.0.0.1:8080], timeouts.connect 1.5 → default" in lines
    )
    assert "role admin added" in lines
    assert "rate limit l removed" in lines
    assert 'grant admin when groups contains "platform-admins" added' in lines
    assert "grant x to everybody signed in removed" in lines
    assert "grant x to everybody signed in at okta removed" in lines
    assert 'grant x when g at okta equals "false" removed' in lines
    assert "route 2 removed" in lines
    assert "route public added" in lines


def test_every_difference_has_a_line():
    assert len(revisions.describe_changes(PolicyDocument(), FULL)) == 2 + 2 + 7 + 1 + 3


def test_a_number_that_becomes_true_is_a_change():
    one, true = (
        msgspec.structs.replace(DEMO, grants=(Grant(role="user", when=When(claim="c", equals=value)),))
        for value in (1, True)
    )
    assert revisions.describe_changes(one, true) == [
        "grant user when c equals 1 removed",
        "grant user when c equals true added",
    ]


@pytest.mark.django_db
def test_a_number_that_becomes_true_is_published():
    revisions.replace(DEMO, Machine("alice"))
    RoleGrant.objects.filter(operator="contains").update(operator="equals", value=1)
    revisions.publish(Machine("alice"))
    RoleGrant.objects.filter(operator="equals").update(value=True)
    assert revisions.publish(Machine("alice")).revision.number == 3


@pytest.mark.django_db
def test_ten_thousand_routes_are_applied_in_seconds():
    from tests.authgate.policy.test_route_table import document, route

    routes = [route(f"r{i}", f"/s{i % 100}/{i}", access="roles", roles=("admin",)) for i in range(10_000)]
    assert revisions.replace(document(*routes), Machine("alice")).revision.number == 1
    assert Route.objects.count() == Route.roles.through.objects.count() == 10_000


def rows():
    return [sorted(model.objects.values_list("pk", flat=True)) for model in (Upstream, Route, RoleGrant)]


@pytest.mark.django_db
def test_what_is_live_already_is_not_written_again():
    live = revisions.replace(FULL, Machine("tests")).revision
    before = rows()
    assert revisions.replace(parse_json(live.document), Machine("tests")).revision == live
    assert revisions.rollback(live.number, Machine("tests")).revision == live
    assert rows() == before


@pytest.mark.django_db
def test_a_number_that_becomes_true_is_written_again():
    role = next(iter(FULL.roles))
    for value in (1, True):
        grant = Grant(role=role, when=When(claim="level", equals=value))
        apply_document(msgspec.structs.replace(FULL, grants=(grant,)))
    assert RoleGrant.objects.get().value is True
