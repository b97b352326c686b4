from __future__ import annotations

import msgspec
import pytest
from django.urls import reverse

from authgate.models.people import IdentityProvider
from authgate.models.policy import PolicyRevision, RateLimit, Role, RoleGrant, Route, Upstream
from authgate.models.trust import StateVersion
from authgate.policy import revisions
from authgate.policy.compiler import compile_rows
from authgate.policy.document import parse_stored
from authgate.policy.powers import Machine
from authgate.policy.table import match_order
from authgate.state import service_tokens
from authgate.state.service_tokens import Wanted
from tests.support.admin import form_values, publish, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def policy(db):
    publish()


@pytest.fixture
def admin_client(client):
    return sign_in(client)


def add_url(model):
    return reverse(f"admin:authgate_{model._meta.model_name}_add")


def change_url(row):
    return reverse(f"admin:authgate_{row._meta.model_name}_change", args=[row.pk])


def delete_url(row):
    return reverse(f"admin:authgate_{row._meta.model_name}_delete", args=[row.pk])


def list_url(model):
    return reverse(f"admin:authgate_{model._meta.model_name}_changelist")


def edit(client, row, **changes):
    return client.post(change_url(row), {**form_values(client, change_url(row)), **changes}, follow=True)


def errors_of(response):
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def said(response):
    return [str(message) for message in response.context["messages"]]


def newest():
    return PolicyRevision.objects.first()


def named(model, name):
    return model.objects.get(name=name)


def test_a_saved_edit_is_a_new_revision_by_its_author_that_names_the_fields(admin_client):
    response = edit(admin_client, named(Route, "public"), path="/api/open", access="authenticated")
    assert (newest().number, newest().author, newest().comment) == (2, "admin", "changed route public: path, access")
    assert "Published revision 2: it is live." in said(response)
    assert revisions.live_document() == compile_rows()


def test_every_revision_makes_the_workers_reload(admin_client):
    before = StateVersion.objects.get(name="policy").value
    edit(admin_client, named(Route, "public"), path="/api/open")
    assert StateVersion.objects.get(name="policy").value == before + 1


@pytest.mark.parametrize("model", [Upstream, Role, RateLimit, Route, RoleGrant])
def test_saving_a_form_unchanged_changes_nothing(admin_client, model):
    before = compile_rows()
    for row in model.objects.all():
        response = edit(admin_client, row)
        assert "The policy is what it was: revision 1 stays live." in said(response)
    assert (compile_rows(), newest().number) == (before, 1)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Upstream, {"name": "shop", "targets": "http://127.0.0.1:1\n\n  unix:/run/shop.sock "}),
        (Role, {"name": "auditor", "admin": "none"}),
        (RateLimit, {"name": "slow", "rate": "5/m", "burst": "0", "per": "subject"}),
        (RoleGrant, {"operator": "equals", "claim": "vip", "value": "true"}),
        (Route, {"name": "new", "path": "/new", "match": "exact", "access": "public", "methods": ["GET"]}),
    ],
)
def test_what_is_added_is_published(admin_client, model, values):
    if model is Route:
        values = {**values, "upstream": named(Upstream, "api").pk}
    if model is RoleGrant:
        values = {**values, "role": named(Role, "user").pk}
    response = admin_client.post(add_url(model), values, follow=True)
    assert "Published revision 2: it is live." in said(response)
    assert newest().comment.startswith(f"added {model._meta.verbose_name}")


def test_targets_are_one_per_line(admin_client):
    edit(admin_client, named(Upstream, "api"), targets=" http://127.0.0.1:1\r\n\r\nunix:/run/shop.sock ")
    assert named(Upstream, "api").targets == ["http://127.0.0.1:1", "unix:/run/shop.sock"]
    assert form_values(admin_client, change_url(named(Upstream, "api")))["targets"] == (
        "http://127.0.0.1:1\nunix:/run/shop.sock"
    )


def test_headers_to_let_through_are_one_per_line(admin_client):
    edit(admin_client, named(Route, "public"), pass_headers="X-Remote-User\r\n Remote-Groups ")
    assert named(Route, "public").pass_headers == ["X-Remote-User", "Remote-Groups"]
    assert newest().comment == "changed route public: pass headers"
    values = form_values(admin_client, change_url(named(Route, "public")))
    assert values["pass_headers"] == "X-Remote-User\nRemote-Groups"


def test_identity_headers_are_a_map_as_in_a_policy_file(admin_client):
    edit(admin_client, named(Route, "public"), identity_headers="X-Login: email\r\nX-Groups: {claim: groups}")
    assert named(Route, "public").identity_headers == {"X-Login": "email", "X-Groups": {"claim": "groups"}}
    values = form_values(admin_client, change_url(named(Route, "public")))
    assert values["identity_headers"] == "X-Login: email\nX-Groups: {claim: groups}\n"


@pytest.mark.parametrize(
    ("field", "text", "stored"),
    [
        ("cors", "pass", "pass"),
        ("cors", "{origins: ['https://app.test']}", {"origins": ["https://app.test"]}),
        ("request_headers", "set: {X-A: b}", {"set": {"X-A": "b"}}),
        ("security_headers", "X-Frame-Options: null", {"X-Frame-Options": None}),
        ("max_body", "1000", 1000),
        ("total_timeout", "2.5", 2.5),
    ],
)
def test_what_a_route_changes_comes_back_as_it_was_written(admin_client, field, text, stored):
    route = named(Route, "public")
    empty = getattr(route, field)
    edit(admin_client, route, **{field: text})
    assert getattr(named(Route, "public"), field) == stored
    before = newest().number
    edit(admin_client, named(Route, "public"))  # as the form shows it
    assert (newest().number, getattr(named(Route, "public"), field)) == (before, stored)
    edit(admin_client, named(Route, "public"), **{field: ""})
    assert getattr(named(Route, "public"), field) == empty


def test_a_route_that_redirects_has_no_upstream(admin_client):
    edit(admin_client, named(Route, "public"), upstream="", redirect="{to: /new, status: 308}")
    route = named(Route, "public")
    assert (route.upstream, route.redirect) == (None, {"to": "/new", "status": 308})
    assert admin_client.get(list_url(Route)).status_code == 200


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- email", "Must be a map"),
        ("X-Login: emial", "did you mean"),
        ("Host: email", "cannot be set"),
        ("a: {", "expected node content"),
    ],
)
def test_a_map_that_is_wrong_is_refused_beside_its_field(admin_client, text, problem):
    response = edit(admin_client, named(Route, "public"), identity_headers=text)
    assert problem in response.context["adminform"].form.errors["identity_headers"][0]


def test_paths_as_sent_are_chosen_and_what_lies_below_is_named(admin_client):
    edit(admin_client, named(Route, "public"), paths="as_sent")
    assert named(Route, "public").paths == "as_sent"
    assert newest().comment == "changed route public: paths"
    assert form_values(admin_client, change_url(named(Route, "public")))["paths"] == "as_sent"
    response = edit(admin_client, named(Route, "admin"), path="/api/public/admin")
    assert "lies below it" in str(errors_of(response))
    assert newest().number == 2


def test_methods_are_ticked_and_others_are_written(admin_client):
    edit(admin_client, named(Route, "public"), methods=["GET", "POST"], other_methods=" PROPFIND  REPORT")
    assert named(Route, "public").methods == ["GET", "POST", "PROPFIND", "REPORT"]
    values = form_values(admin_client, change_url(named(Route, "public")))
    assert values["other_methods"] == "PROPFIND REPORT"


ROUTE_FAULTS = [
    ("path", {"path": "nope"}, "path", "must begin with '/'"),
    ("reserved path", {"path": "/admin/x", "host": ""}, "path", "/admin belongs to the gateway itself"),
    ("tie", {"path": "/api/protected"}, "path", "same host, path, match and methods as route 'protected'"),
    ("host", {"host": "Wiki.Example.Com"}, "host", "write it as wiki.example.com"),
    ("method", {"other_methods": "get"}, "methods", "'get' is not a method"),
    ("method twice", {"methods": ["GET"], "other_methods": "GET"}, "methods", "a method is named twice"),
    ("no role", {"access": "roles"}, "roles", "Choose at least one role"),
    ("connect", {"connect_timeout": "0"}, "connect_timeout", "must be more than 0"),
    ("response", {"response_timeout": "1e9"}, "response_timeout", "at most 86400 seconds"),
    ("idle", {"idle_timeout": "-1"}, "idle_timeout", "must be more than 0"),
    ("name", {"name": "a b"}, "name", "Letters, digits"),
    ("name taken", {"name": "wiki"}, "name", "already exists"),
]


@pytest.mark.parametrize(
    ("changes", "field", "message"), [f[1:] for f in ROUTE_FAULTS], ids=[f[0] for f in ROUTE_FAULTS]
)
def test_a_fault_of_a_route_stands_beside_its_field_and_nothing_is_saved(admin_client, changes, field, message):
    errors = errors_of(edit(admin_client, named(Route, "public"), **changes))
    assert list(errors) == [field]
    assert message in errors[field][0]
    assert (named(Route, "public").path, newest().number) == ("/api/public", 1)


FAULTS = [
    ("target", Upstream, {"targets": "ftp://x"}, "targets", "must be http://host:port"),
    ("metadata target", Upstream, {"targets": "http://169.254.169.254"}, "targets", "cloud metadata"),
    ("no target", Upstream, {"targets": " \n"}, "targets", "required"),
    ("upstream timeout", Upstream, {"idle_timeout": "0"}, "idle_timeout", "must be more than 0"),
    ("rate", RateLimit, {"rate": "10 per second"}, "rate", "must look like 10/s"),
    ("burst", RateLimit, {"burst": "99999999"}, "burst", "must be from 0 to 1000000"),
    ("description", Role, {"description": "a\x07b"}, "description", "no control characters"),
]


@pytest.mark.parametrize(("model", "changes", "field", "message"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_of_anything_else_stands_beside_its_field(admin_client, model, changes, field, message):
    errors = errors_of(edit(admin_client, model.objects.first(), **changes))
    assert list(errors) == [field]
    assert message in errors[field][0]
    assert newest().number == 1


GRANT_FAULTS = [
    ("no claim", {"operator": "contains", "value": "x"}, "claim", "the name of a claim is needed"),
    ("no value", {"operator": "contains", "claim": "groups"}, "operator", "name a claim and the value"),
    ("blank value", {"operator": "equals", "claim": "groups", "value": '" "'}, "value", "an empty value"),
    ("half a pair", {"operator": "equals", "claim": "a", "value": r'"\ud800"'}, "value", "Half of a surrogate pair"),
    ("huge number", {"operator": "equals", "claim": "n", "value": "9" * 30}, "value", "too large"),
    ("contains a truth", {"operator": "contains", "claim": "n", "value": "true"}, "value", "must be text or a whole"),
    ("no slug", {"operator": "authenticated", "provider": "o|kta"}, "provider", "not the slug"),
    ("needless claim", {"operator": "authenticated", "claim": "x"}, "claim", "leave it empty"),
    ("needless value", {"operator": "authenticated", "value": "x"}, "value", "leave it empty"),
]


@pytest.mark.parametrize(
    ("values", "field", "message"), [f[1:] for f in GRANT_FAULTS], ids=[f[0] for f in GRANT_FAULTS]
)
def test_a_fault_of_a_grant_stands_beside_its_field(admin_client, values, field, message):
    errors = errors_of(admin_client.post(add_url(RoleGrant), {"role": named(Role, "user").pk, **values}))
    assert list(errors) == [field]
    assert message in errors[field][0]
    assert RoleGrant.objects.count() == 3


def test_the_same_grant_again_is_refused(admin_client):
    values = {"role": named(Role, "user").pk, "operator": "authenticated"}
    assert "There is such a grant already." in errors_of(admin_client.post(add_url(RoleGrant), values))["__all__"][0]


def test_a_grant_may_name_the_provider_it_is_about(admin_client):
    IdentityProvider.objects.create(slug="okta", client_id="x")
    values = {"role": named(Role, "user").pk, "operator": "authenticated", "provider": "okta"}
    assert admin_client.post(add_url(RoleGrant), values).status_code == 302
    assert parse_stored(newest().document).grants[-1].when.provider == "okta"
    page = admin_client.get(change_url(RoleGrant.objects.last())).content.decode()
    assert '<option value="okta" selected>okta</option>' in page


def test_a_provider_that_has_gone_stays_chosen(admin_client):
    grant = RoleGrant.objects.create(role=named(Role, "user"), provider="gone")
    assert form_values(admin_client, change_url(grant))["provider"] == "gone"
    assert admin_client.post(change_url(grant), form_values(admin_client, change_url(grant))).status_code == 302
    grant.refresh_from_db()
    assert grant.provider == "gone"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [("7", 7), ('"7"', "7"), ("true", True), ('"true"', "true"), ("staff", "staff"), ("a b", "a b"), ("1.5", "1.5"),
     ('say "hi"', 'say "hi"'), ("null", "null"), ("[1]", "[1]")],
)  # fmt: skip
def test_a_claim_value_is_a_text_unless_it_is_a_number_or_truth(admin_client, typed, stored):
    values = {"role": named(Role, "user").pk, "operator": "equals", "claim": "level", "value": typed}
    admin_client.post(add_url(RoleGrant), values)
    grant = RoleGrant.objects.last()
    assert (type(grant.value), grant.value) == (type(stored), stored)
    assert form_values(admin_client, change_url(grant))["value"] == typed


def test_a_refused_form_shows_what_was_typed(admin_client):
    values = {"role": named(Role, "user").pk, "operator": "contains", "claim": "", "value": '"7"'}
    response = admin_client.post(add_url(RoleGrant), values)
    assert response.context["adminform"].form["value"].value() == '"7"'


def test_a_fault_elsewhere_in_the_policy_names_its_place(admin_client):
    Route.objects.filter(name="admin").update(path="/broken//path")
    errors = errors_of(edit(admin_client, named(Route, "public"), path="/fine"))
    assert list(errors) == ["__all__"]
    assert errors["__all__"][0].startswith("route admin, path: ")


def test_a_refused_addition_can_be_corrected_and_sent_again(admin_client):
    values = {"name": "shop", "targets": "ftp://x"}
    assert errors_of(admin_client.post(add_url(Upstream), values))
    admin_client.post(add_url(Upstream), {**values, "targets": "http://127.0.0.1:1"})
    assert named(Upstream, "shop").targets == ["http://127.0.0.1:1"]


def test_a_rename_goes_to_all_that_refer_to_it(admin_client):
    edit(admin_client, named(Upstream, "api"), name="backend")
    assert {route.upstream for route in revisions.live_document().routes} == {"backend", "wiki"}


def test_a_deleted_route_is_published(admin_client):
    response = admin_client.post(delete_url(named(Route, "public")), {"post": "yes"}, follow=True)
    assert "Published revision 2: it is live." in said(response)
    assert newest().comment == "deleted route public"


def test_deleting_all_selected_routes_is_one_revision(admin_client):
    selected = {"_selected_action": list(Route.objects.values_list("pk", flat=True))}
    admin_client.post(list_url(Route), {"action": "delete_selected", "post": "yes", **selected})
    assert (newest().number, Route.objects.count()) == (2, 0)
    assert newest().comment.startswith("deleted routes ")
    assert newest().comment.endswith(" and 1 more")


@pytest.mark.parametrize(("model", "name"), [(Upstream, "api"), (RateLimit, "api")])
def test_what_routes_need_cannot_be_deleted_and_says_which_routes(admin_client, model, name):
    url = delete_url(named(model, name))
    assert "public" in admin_client.get(url).content.decode()
    admin_client.post(url, {"post": "yes"})
    assert (model.objects.filter(name=name).exists(), newest().number) == (True, 1)


def test_of_thousands_of_routes_that_need_it_some_are_named(admin_client):
    many_routes(60)
    page = admin_client.get(delete_url(named(Upstream, "api"))).content.decode()
    assert "… and 53 more" in page


def test_the_last_role_of_a_route_cannot_be_deleted(admin_client):
    response = admin_client.post(delete_url(named(Role, "admin")), {"post": "yes"}, follow=True)
    assert "route admin, roles: Choose at least one role" in response.content.decode()
    assert (Role.objects.filter(name="admin").exists(), RoleGrant.objects.count(), newest().number) == (True, 3, 1)


def test_the_last_role_of_a_route_cannot_be_deleted_from_the_list_either(admin_client):
    selected = {"_selected_action": [named(Role, "admin").pk]}
    values = {"action": "delete_selected", "post": "yes", **selected}
    response = admin_client.post(list_url(Role), values, follow=True)
    assert "route admin, roles: Choose at least one role" in response.content.decode()
    assert (Role.objects.filter(name="admin").exists(), newest().number) == (True, 1)


def test_a_role_nobody_needs_is_deleted(admin_client):
    admin_client.post(delete_url(named(Role, "unused")), {"post": "yes"})
    assert (newest().number, newest().comment) == (2, "deleted role unused")


@pytest.mark.parametrize(("action", "enabled"), [("disable", False), ("enable", True)])
def test_selected_routes_are_switched_in_one_revision(admin_client, action, enabled):
    Route.objects.update(enabled=not enabled)
    pks = [named(Route, name).pk for name in ("public", "wiki")]
    admin_client.post(list_url(Route), {"action": action, "_selected_action": pks})
    assert {route.name for route in Route.objects.filter(enabled=enabled)} == {"public", "wiki"}
    assert (newest().number, revisions.live_document()) == (2, compile_rows())


def test_the_routes_are_listed_in_the_order_in_which_they_match(admin_client):
    api = named(Upstream, "api")
    for index, (host, path, match, methods) in enumerate(
        [
            ("", "/", "prefix", []), ("", "/", "exact", []), ("", "/a/b", "prefix", []), ("", "/a", "prefix", ["GET"]),
            ("", "/a/", "exact", []), ("", "/a", "prefix", []), ("*.example.com", "/", "prefix", []),
            ("*.b.example.com", "/", "prefix", []), ("b.test", "/z", "exact", []), ("a.test", "/", "prefix", []),
            ("a.test", "/long/er/still", "prefix", []), ("a.test", "/long", "prefix", ["GET", "POST"]),
        ]
    ):  # fmt: skip
        Route.objects.create(
            name=f"r{index}", host=host, path=path, match=match, methods=methods, access="public", upstream=api
        )
    shown = [row.name for row in admin_client.get(list_url(Route)).context["cl"].result_list]
    assert shown == [route.name for route in sorted(compile_rows().routes, key=match_order)]


def many_routes(count):
    api, admin = named(Upstream, "api"), named(Role, "admin")
    rows = [Route(name=f"n{i}", path=f"/n/{i}", access="roles", upstream=api) for i in range(count)]
    Route.objects.bulk_create(rows)
    through = Route.roles.through
    through.objects.bulk_create(through(route_id=row.pk, role_id=admin.pk) for row in rows)


def test_the_route_list_costs_the_same_queries_however_long_it_is(admin_client, django_assert_num_queries):
    admin_client.get(list_url(Route))
    with django_assert_num_queries(12, exact=False) as few:
        admin_client.get(list_url(Route))
    many_routes(60)
    with django_assert_num_queries(len(few)):
        assert len(admin_client.get(list_url(Route)).context["cl"].result_list) == 64


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"access__exact": "public"}, {"public"}),
        ({"host_kind": "exact"}, {"wiki"}),
        ({"host_kind": "any"}, {"public", "protected", "admin"}),
        ({"host_kind": "wildcard"}, set()),
        ({"q": "example"}, {"wiki"}),
        ({"q": "/api/ad"}, {"admin"}),
        ({"q": "prot"}, {"protected"}),
        ({"enabled__exact": "0"}, set()),
    ],
)
def test_routes_are_filtered_and_found(admin_client, query, names):
    shown = admin_client.get(list_url(Route), query).context["cl"].result_list
    assert {row.name for row in shown} == names


def test_routes_are_filtered_by_upstream_and_role(admin_client):
    for query, names in (
        ({"upstream__id__exact": named(Upstream, "wiki").pk}, {"wiki"}),
        ({"roles__id__exact": named(Role, "admin").pk}, {"admin"}),
    ):
        assert {row.name for row in admin_client.get(list_url(Route), query).context["cl"].result_list} == names


@pytest.mark.parametrize("model", [Upstream, Role, RateLimit, RoleGrant, Route])
def test_each_list_and_form_is_shown_and_searched(admin_client, model):
    assert admin_client.get(list_url(model), {"q": "a"}).status_code == 200
    assert admin_client.get(change_url(model.objects.first())).status_code == 200


def test_who_may_not_change_routes_cannot(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("viewer", is_staff=True))
    assert client.get(list_url(Route)).status_code == 403
    assert client.post(list_url(Route), {"action": "disable", "_selected_action": ["1"]}).status_code == 403


def test_the_overview_says_which_revision_is_live(admin_client):
    page = admin_client.get(reverse("admin:index")).content.decode()
    assert "by tests" in page
    assert "the beginning" in page


# --- two who edit at a time ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "name", "first", "second"),
    [
        (Route, "public", {"access": "authenticated"}, {"path": "/api/open"}),
        (Route, "admin", {"access": "authenticated", "roles": []}, {"path": "/api/boss"}),
        (Upstream, "api", {"targets": "http://127.0.0.1:1"}, {"connect_timeout": "3"}),
        (Role, "admin", {"admin": "staff"}, {"description": "x"}),
    ],
)
def test_the_edit_of_a_page_that_is_no_longer_true_is_refused(admin_client, model, name, first, second):
    row = named(model, name)
    url = change_url(row)
    opened = form_values(admin_client, url)
    edit(admin_client, row, **first)
    before = (compile_rows(), newest().number)
    answer = admin_client.post(url, {**opened, **second}, follow=True)
    assert "Somebody has changed this since you opened the page (revision 2 is by admin)" in answer.text
    assert (compile_rows(), newest().number) == before
    edit(admin_client, row, **second)
    assert newest().number == 3


def test_a_page_that_was_open_while_the_policy_was_imported_is_still_good(admin_client):
    route = named(Route, "public")
    opened = form_values(admin_client, change_url(route))
    document = revisions.live_document()
    added = msgspec.structs.replace(document.routes[0], name="new", path="/new")
    revisions.replace(msgspec.structs.replace(document, routes=(added, *document.routes)), Machine("test"))
    admin_client.post(change_url(route), {**opened, "path": "/api/open"})
    assert named(Route, "public").path == "/api/open"


def test_rules_about_tools_are_written_as_in_the_file(admin_client):
    rules = "- {roles: [user], mcp_tools: ['read_*', list_tables]}\n- mcp_methods: [resources/read]"
    edit(admin_client, named(Route, "protected"), mcp="on", allow=rules, deny="- {mcp_tools: [drop]}")
    route = named(Route, "protected")
    assert (route.mcp, route.allow, route.deny) == (
        True,
        [{"roles": ["user"], "mcp_tools": ["read_*", "list_tables"]}, {"mcp_methods": ["resources/read"]}],
        [{"mcp_tools": ["drop"]}],
    )
    number = newest().number
    edit(admin_client, route)
    assert newest().number == number  # the form shows what it was given


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"allow": "- {mcp_tools: [x]}"}, "allow", "Has an effect only on an MCP server"),
        ({"mcp": "on", "allow": "- {roles: [nobody], mcp_tools: [x]}"}, "allow", "unknown role 'nobody'"),
        ({"mcp": "on", "deny": "- {tools: [x]}"}, "deny", "unknown key"),
        ({"mcp": "on", "deny": "- x"}, "deny", "must be a map"),
        ({"mcp": "on", "deny": "x"}, "deny", "Must be a list: begin each rule with a hyphen."),
        ({"mcp": "on", "deny": "- {x"}, "deny", "line 2"),
    ],
)
def test_a_fault_of_a_rule_about_tools_stands_beside_its_field(admin_client, changes, field, message):
    errors = errors_of(edit(admin_client, named(Route, "protected"), **changes))
    assert message in errors[field][0]
    assert newest().number == 1


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        (
            {"request_headers": "X-Tenant: acme"},
            "request_headers",
            "X-Tenant: unknown key; the keys here are set, add, rem",
        ),
        ({"cors": "origins: https://app.example.com"}, "cors", "origins: must be a list of texts"),
        ({"mcp": "on", "deny": "- {tools: [x]}"}, "deny", "[0].tools: unknown key"),
        ({"path": "x"}, "path", "must begin with '/'"),
    ],
)
def test_a_fault_within_a_map_or_a_list_says_where_in_it(admin_client, changes, field, message):
    assert errors_of(edit(admin_client, named(Route, "protected"), **changes))[field][0].startswith(message)


def test_the_list_shows_where_a_redirect_leads(admin_client):
    edit(admin_client, named(Route, "protected"), upstream="", redirect="{to: /new}")
    assert "redirect to /new" in admin_client.get(list_url(Route)).content.decode()


def test_deleting_or_renaming_what_a_token_names_is_told(admin_client):
    for name in ("builder", "tester"):
        Role.objects.create(name=name)
    revisions.publish(Machine("test"))
    service_tokens.create(Wanted("ci", roles=["builder", "tester"]), Machine("test"))
    gone = admin_client.post(delete_url(Role.objects.get(name="builder")), {"post": "yes"}, follow=True)
    assert "The service token 'ci' names the role 'builder', which is no longer there." in said(gone)
    renamed = edit(admin_client, Role.objects.get(name="tester"), name="checker")
    assert "The service token 'ci' names the role 'tester', which is no longer there." in said(renamed)
