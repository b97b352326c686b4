"""The policy over REST: parts by name, grants, the whole of it, and its revisions."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.rest import Rest, account, robot, with_api

ROUTE = {"path": "/new", "access": "public", "upstream": "api"}


@pytest.fixture(scope="module")
def api_gateway(gateway_template, session_upstream, tmp_path_factory):
    policy = with_api(demo_policy(session_upstream.target))
    with Gateway(tmp_path_factory.mktemp("api") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


@pytest.fixture
def rest(api_gateway) -> Rest:
    return robot(api_gateway)


def newest(rest: Rest) -> dict:
    return rest.get("/revisions?limit=1").body["results"][0]


def test_a_route_that_is_put_serves_once_it_is_answered(rest, upstream):
    made = rest.put("/routes/new", ROUTE)
    assert (made.status, made.body["name"], made.body["match"]) == (201, "new", "prefix")
    assert rest.gateway.get("/new").status == 200
    assert made.headers["authgate-revision"] == str(newest(rest)["number"])
    assert newest(rest)["author"] == "token:ci"
    assert newest(rest)["comment"] == "added route new"
    assert rest.delete("/routes/new").status == 204
    assert rest.gateway.get("/new").status == 404


def test_putting_the_same_twice_makes_one_revision(rest):
    assert rest.put("/limits/slow", {"rate": "1/s"}).status == 201
    before = newest(rest)["number"]
    again = rest.put("/limits/slow", {"rate": "1/s"})
    assert (again.status, newest(rest)["number"]) == (200, before)
    assert again.body == {"name": "slow", "rate": "1/s", "burst": 0, "per": "client"}
    rest.delete("/limits/slow")


def test_what_is_shown_can_be_put_back(rest):
    before = newest(rest)["number"]
    for section in ("upstreams", "roles", "limits", "routes"):
        for shown in rest.get(f"/{section}").body["results"]:
            if shown["name"] not in ("robot", "boss"):
                assert rest.put(f"/{section}/{shown['name']}", shown).status == 200
    policy = rest.get("/policy")
    assert rest.put("/policy", policy.body, if_match=policy.etag).body["changed"] is False
    assert newest(rest)["number"] == before


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/routes/new", {**ROUTE, "pth": "/x"}, ["pth"]),
        ("/routes/new", {"access": "public"}, ["path"]),
        ("/routes/new", {**ROUTE, "enabled": "yes"}, ["enabled"]),
        ("/routes/new", {**ROUTE, "upstream": "apj"}, ["upstream"]),
        ("/routes/new", {**ROUTE, "timeouts": {"idle": -1}}, ["timeouts.idle"]),
        ("/routes/new", {**ROUTE, "path": "/api/public"}, ["path", "routes.public.path"]),
        ("/routes/new", {**ROUTE, "name": "other"}, ["name"]),
        ("/routes/-new", ROUTE, ["name"]),
        ("/routes/new", [], [""]),
        ("/upstreams/new", {"targets": ["ftp://x"]}, ["targets"]),
        ("/limits/new", {"rate": "often"}, ["rate"]),
        ("/policy", {"version": 1, "roles": {"a": {"admin": "yes"}}}, ["roles.a.admin"]),
        ("/policy", {"upstreams": {}}, ["version"]),
        ("/policy", {"version": 1}, ["routes"]),
    ],
)  # fmt: skip
def test_an_error_names_the_field(rest, path, body, fields):
    before = newest(rest)["number"]
    refused = rest.put(path, body)
    assert (refused.status, sorted(refused.fields)) == (422, sorted(fields))
    assert newest(rest)["number"] == before


def test_what_is_in_use_is_not_deleted(rest):
    refused = rest.delete("/upstreams/api")
    assert refused.status == 409
    assert "routes.public.upstream" in refused.fields


@pytest.mark.parametrize("body", ["{", '{"rate": "1/s", "rate": "2/s"}', '{"rate": NaN}', r'{"rate": "\ud800"}', ""])
def test_a_body_that_is_no_json_is_refused(rest, body):
    assert rest.ask("PUT", "/limits/new", body, content_type="application/json").status in (400, 422)
    assert rest.get("/limits/new").status == 404


def test_another_media_type_is_refused(rest):
    assert rest.ask("PUT", "/limits/new", "rate=1", content_type="application/x-www-form-urlencoded").status == 415


def test_of_two_who_change_the_same_the_second_is_told(rest):
    rest.put("/limits/shared", {"rate": "1/s"})
    seen = rest.get("/limits/shared").etag
    assert rest.put("/limits/shared", {"rate": "2/s"}, if_match=seen).status == 200
    assert rest.put("/limits/shared", {"rate": "3/s"}, if_match=seen).status == 412
    assert rest.delete("/limits/shared", if_match=seen).status == 412
    assert rest.put("/limits/shared", {"rate": "3/s"}, if_none_match="*").status == 412
    assert rest.put("/limits/unknown", {"rate": "3/s"}, if_match="*").status == 412
    now = rest.get("/limits/shared")
    assert now.body["rate"] == "2/s"
    assert rest.get("/limits/shared", if_none_match=now.etag).status == 304
    assert rest.delete("/limits/shared", if_match=now.etag).status == 204


def test_a_dry_run_says_what_would_change_and_changes_nothing(rest):
    before = newest(rest)["number"]
    would = rest.put("/routes/new?dry_run=1", ROUTE)
    assert would.status == 200
    assert would.body == {
        "revision": before + 1, "changed": True, "dry_run": True, "changes": ["route new added"], "warnings": [],
    }  # fmt: skip
    assert newest(rest)["number"] == before
    assert rest.get("/routes/new").status == 404


def test_a_new_host_is_answered_with_what_it_needs_elsewhere(rest):
    route, needs = {**ROUTE, "host": "new.example.com"}, "the host new.example.com is new: point its DNS name here"
    assert rest.put("/routes/hosted?dry_run=1", route).body["warnings"] == [needs]
    made = rest.put("/routes/hosted", route)
    assert (made.status, made.headers["authgate-warning"]) == (201, needs)
    again = rest.put("/routes/hosted", {**route, "path": "/elsewhere"})
    assert (again.status, again.headers.get("authgate-warning")) == (200, None)
    assert rest.delete("/routes/hosted").status == 204


def test_the_whole_policy_is_replaced_planned_and_rolled_back(rest):
    before, policy = newest(rest)["number"], rest.get("/policy").body
    policy["routes"].append({"name": "late", **ROUTE, "path": "/late"})
    assert rest.put("/policy?dry_run=1", policy).body["changes"] == ["route late added"]
    assert rest.put("/policy", policy).body["revision"] == before + 1
    assert rest.get(f"/revisions/{before + 1}/diff").body["changes"] == ["route late added"]
    assert rest.get(f"/revisions/{before}/diff?against={before + 1}").body["changes"] == ["route late removed"]
    assert rest.post(f"/revisions/{before}/rollback?dry_run=1").body["changes"] == ["route late removed"]
    back = rest.post(f"/revisions/{before}/rollback")
    assert (back.status, back.body["revision"], newest(rest)["author"]) == (200, before + 2, "token:ci")
    assert rest.get(f"/revisions/{before}").body["policy"] == rest.get("/policy").body
    assert rest.post("/revisions/99999/rollback").status == 404


def test_a_grant_is_made_once_however_often_it_is_sent(rest):
    grant = {"role": "user", "when": {"claim": "groups", "contains": "guests"}}
    made, again = rest.post("/grants", grant), rest.post("/grants", grant)
    assert (made.status, again.status) == (201, 200)
    assert made.headers["location"] == f"/auth/api/v1/grants/{made.body['id']}"
    assert rest.get("/grants?role=user").body["count"] == 2
    assert rest.delete(f"/grants/{made.body['id']}").status == 204
    assert rest.delete(f"/grants/{made.body['id']}").status == 404
    assert rest.post("/grants", {"role": "usr", "when": {"authenticated": True}}).fields == ["role"]
    assert rest.post("/grants", {"role": "user", "when": {"claim": "x"}}).fields == ["when"]


def test_lists_have_pages_and_filters(rest):
    first = rest.get("/routes?limit=2")
    assert (first.body["count"], len(first.body["results"]), first.body["previous"]) == (3, 2, None)
    rest_of_them = rest.get(first.body["next"])
    assert [route["name"] for route in rest_of_them.body["results"]] == ["admin"]
    assert [route["name"] for route in rest.get("/routes?access=public&q=PUB").body["results"]] == ["public"]
    assert [role["name"] for role in rest.get("/roles?admin=api").body["results"]] == ["robot"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=501", "offset=-1", "acess=public", "limit=1&limit=2"])
def test_a_parameter_that_is_not_understood_is_refused(rest, query):
    assert rest.get(f"/routes?{query}").status == 422


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/roles/new", {"admin": "staff"}, "admin"),
        ("/roles/new", {"admin": "api"}, "admin"),
        ("/roles/robot", {}, "admin"),
        ("/roles/boss", {}, "admin"),
    ],
)
def test_a_token_changes_no_role_that_opens_anything(rest, path, body, field):
    refused = rest.put(path, body)
    assert (refused.status, refused.fields) == (403, [field])
    assert rest.post("/grants", {"role": "robot", "when": {"authenticated": True}}).status == 403


def test_a_superuser_changes_them(api_gateway):
    superuser = account(api_gateway, "root", is_superuser=True)
    assert superuser.put("/roles/helper", {"admin": "api"}).status == 201
    assert newest(superuser)["author"] == "root"
    assert superuser.delete("/roles/helper").status == 204


def test_a_role_that_a_service_token_names_is_missed_when_it_goes(rest):
    rest.put("/roles/builder", {})
    token = rest.post("/service-tokens", {"name": "ci", "roles": ["builder"]}).body
    missed = ["the service token 'ci' names the role 'builder', which is no longer there"]
    assert rest.delete("/roles/builder?dry_run=1").body["warnings"] == missed
    gone = rest.delete("/roles/builder")
    assert (gone.status, gone.body["changed"], gone.body["warnings"]) == (200, True, missed)
    assert gone.headers["authgate-revision"] == str(gone.body["revision"])
    back = rest.post(f"/revisions/{gone.body['revision'] - 1}/rollback").body
    assert (back["changed"], back["warnings"]) == (True, [])
    rest.delete(f"/service-tokens/{token['id']}")
    assert rest.delete("/roles/builder").status == 204
