from __future__ import annotations

import io
import os
import shutil
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command

from authgate.models.people import IdentityProvider
from authgate.models.policy import Role, RoleGrant, Route, Upstream
from tests.support import processes
from tests.support.gateway import environment, manage
from tests.support.policies import demo_policy

DEMO = demo_policy("http://127.0.0.1:8080")
OTHER = demo_policy("http://127.0.0.1:9090")
UNCHANGED = "nothing changed; revision 1 stays live\n"


def run(*args):
    output = io.StringIO()
    call_command("policy", *map(str, args), stdout=output)
    return output.getvalue()


def refused(*args):
    """The lines of the error; nothing may have been said on standard output."""
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("policy", *map(str, args), stdout=output)
    assert output.getvalue() == ""
    return str(caught.value).splitlines()


@pytest.fixture
def write(tmp_path):
    def write(text, name="policy.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.mark.django_db
def test_a_grant_of_a_provider_that_is_not_there_is_imported_with_a_warning(write, capsys):
    text = DEMO.replace("{claim: groups", "{provider: okta, claim: groups")
    assert run("import", write(text)) == "revision 1 is live\n"
    warning = "there is no identity provider 'okta' here yet; until it is added this grants nothing"
    assert capsys.readouterr().err == f"grants[1].when.provider: {warning}\n"
    IdentityProvider.objects.create(slug="okta", client_id="x")
    assert run("import", write(text)) == UNCHANGED
    assert (capsys.readouterr().err, run("export").count("provider: okta")) == ("", 1)


@pytest.mark.django_db
def test_a_policy_is_imported_shown_changed_listed_and_rolled_back(write):
    assert run("import", write(DEMO)) == "revision 1 is live\n"
    assert run("import", write(DEMO)) == UNCHANGED
    change = "upstream api: targets [http://127.0.0.1:{}] → [http://127.0.0.1:{}]"
    assert run("import", write(OTHER, "other.yaml")).splitlines() == [
        "revision 2 is live",
        "  " + change.format(8080, 9090),
        "to undo: manage.py policy rollback 1",
    ]
    assert run("rollback", "1").splitlines() == [
        "revision 3 is live", "  " + change.format(9090, 8080), "to undo: manage.py policy rollback 2",
    ]  # fmt: skip
    rows = [line.split() for line in run("history").splitlines()]
    assert [row[0] for row in rows] == ["REVISION", "3", "2", "1"]
    assert rows[1][3:] == ["policy", "rollback", "1", "rollback", "to", "1"]
    assert rows[2][3:] == ["policy", "import", "1", "import", "of", "other.yaml"]
    shown = run("show").splitlines()
    assert shown[0] == "revision 3"
    assert [line.split() for line in shown[2:]] == [
        ["any", "/api/admin/*", "all", "roles", "admin", "api", "-", "admin"],
        ["any", "/api/protected/*", "all", "authenticated", "api", "-", "protected"],
        ["any", "/api/public/*", "all", "public", "api", "-", "public"],
    ]


@pytest.mark.django_db
def test_before_the_first_import_there_is_an_empty_policy():
    assert run("show").splitlines()[0] == "revision 0"
    assert run("export").startswith("version: 1\n")
    assert len(run("history").splitlines()) == 1


@pytest.mark.django_db
def test_an_export_imported_again_changes_nothing(write, tmp_path):
    run("import", write(DEMO))
    run("export", tmp_path / "out.yaml")
    assert run("export") == (tmp_path / "out.yaml").read_text()
    assert run("import", tmp_path / "out.yaml") == UNCHANGED


@pytest.mark.django_db
def test_every_fault_of_a_file_is_one_line_and_nothing_is_applied(write):
    run("import", write(DEMO))
    broken = DEMO.replace("roles: [admin]", "roles: [boss]").replace("http:", "ftp:")
    assert refused("import", write(broken, "broken.yaml")) == [
        "2 problem(s) in the policy; nothing was changed",
        "line 3: upstreams.api.targets: 'ftp://127.0.0.1:8080': "
        "must be http://host:port, https://host:port or unix:/path",
        "line 13: routes.admin.roles: unknown role 'boss'",
    ]
    assert run("import", write(DEMO)) == UNCHANGED


@pytest.mark.django_db
def test_faults_of_shape_and_of_meaning_are_named_together_in_the_order_of_the_file(write):
    text = """\
version: 1
upstreams:
  api: {targets: ["http://127.0.0.1:1"], timeout: 3}
roles:
  admin: {}
grants:
  - {role: admin, when: {authentcated: true}}
  - {role: admn, when: {authenticated: true}}
routes:
  - {name: a, path: /a, access: everybody, upstream: api}
  - {name: b, path: /b, access: public, upstream: app}
"""
    assert refused("import", write(text))[1:] == [
        "line 3: upstreams.api.timeout: unknown key; did you mean 'timeouts'?",
        "line 7: grants[0].when.authentcated: unknown key; did you mean 'authenticated'?",
        "line 8: grants[1].role: unknown role 'admn'; did you mean 'admin'?",
        "line 10: routes.a.access: must be one of public, authenticated, roles, not 'everybody'",
        "line 11: routes.b.upstream: unknown upstream 'app'; did you mean 'api'?",
    ]


@pytest.mark.django_db
def test_a_dry_run_says_what_would_change_and_changes_nothing(write):
    run("import", write(DEMO))
    assert run("import", write(OTHER, "other.yaml"), "--dry-run").splitlines() == [
        "revision 2 would be live",
        "  upstream api: targets [http://127.0.0.1:8080] → [http://127.0.0.1:9090]",
        "nothing was changed: this was a dry run",
    ]
    assert run("import", write(DEMO)) == UNCHANGED


@pytest.mark.django_db
def test_a_file_without_routes_takes_the_place_of_a_live_policy_only_when_that_is_meant(write):
    run("import", write(DEMO))
    assert refused("import", write("version: 1\n", "empty.yaml")) == [
        "routes: none: every request would be refused; nothing was changed. If that is meant: --allow-empty"
    ]
    assert run("import", write("version: 1\n", "empty.yaml"), "--allow-empty").startswith("revision 2 is live\n")


@pytest.mark.django_db
def test_what_an_import_keeps_keeps_its_row(write):
    run("import", write(DEMO))
    kept = {model: dict(model.objects.values_list("name", "pk")) for model in (Route, Role, Upstream)}
    grants = set(RoleGrant.objects.values_list("pk", flat=True))
    new = "  - {name: new, path: /new, access: public, upstream: api}\n"
    run("import", write(OTHER.replace("routes:\n", f"routes:\n{new}"), "other.yaml"))
    assert all(kept[model].items() <= dict(model.objects.values_list("name", "pk")).items() for model in kept)
    assert set(RoleGrant.objects.values_list("pk", flat=True)) == grants
    assert run("export").count("name: new") == 1


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "version: 1\nroutes: [", DEMO[: len(DEMO) // 2]], ids=["empty", "yaml", "half"])
def test_a_cut_off_file_is_refused(write, text):
    run("import", write(DEMO))
    assert refused("import", write(text, "cut.yaml"))[0].endswith("in the policy; nothing was changed")
    assert run("import", write(DEMO)) == UNCHANGED


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        pytest.param("missing", None, "No such file or directory", id="missing"),
        pytest.param("latin.yaml", b"version: 1 # \xe9", "not UTF-8 text (byte 13)", id="not-utf-8"),
        pytest.param(".", None, "Is a directory", id="directory"),
        pytest.param("a\x00b", None, "embedded null byte", id="nul"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content, line):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert refused("import", f"{tmp_path}/{name}") == [f"{tmp_path}/{name}: {line}"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("/dev/full", "/dev/full: No space left on device"),
        ("/", "/: Is a directory"),
        ("/nowhere/x", "/nowhere/x: No such file or directory"),
    ],
)
def test_an_export_that_cannot_be_written_is_one_line(target, line):
    assert refused("export", target) == [line]


@pytest.mark.django_db
def test_a_failed_export_leaves_what_was_there(tmp_path, monkeypatch, write):
    path = write("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert refused("export", path) == [f"{path}: No space left on device"]
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


@pytest.mark.django_db
def test_an_unknown_revision_is_one_line():
    assert refused("rollback", "7") == ["there is no revision 7"]


# --- real processes on a database of their own ----------------------------------------------------------------------
@pytest.fixture
def env(gateway_template, tmp_path):
    shutil.copytree(gateway_template, tmp_path / "data")
    return environment(tmp_path / "data")


def stderr_of_failure(env, *args, stdin=""):
    result = manage(env, "policy", *args, stdin=stdin)
    assert (result.returncode, result.stdout) == (1, "")
    return result.stderr


def export_to(output, env):
    """Its exit status and standard error."""
    with tempfile.TemporaryFile("w+") as error, open(os.devnull) as nothing:
        process = processes.start(env, ("policy", "export"), (nothing.fileno(), output, error.fileno()))
        status = process.wait(60)
        error.seek(0)
        return status, error.read()


def test_a_full_standard_output_is_one_line(env):
    with open("/dev/full", "w") as full:
        assert export_to(full.fileno(), env) == (1, "CommandError: standard output: No space left on device\n")


def test_a_reader_that_goes_away_is_no_error(env):
    reader, output = os.pipe()
    os.close(reader)
    assert export_to(output, env) == (0, "")
    os.close(output)


def test_a_database_without_tables_is_one_line(tmp_path):
    (tmp_path / "authgate.sqlite3").touch()
    assert stderr_of_failure(environment(tmp_path), "show") == (
        "CommandError: database: no such table: authgate_policyrevision; run manage.py migrate first; "
        "nothing was changed\n"
    )


def test_a_file_that_is_no_database_is_one_line(env):
    with open(f"{env['AUTHGATE_DATA_DIR']}/authgate.sqlite3", "wb") as file:
        file.write(b"x" * 8192)
    file_name = f"{env['AUTHGATE_DATA_DIR']}/authgate.sqlite3"
    assert stderr_of_failure(env, "import", "-", stdin=DEMO) == (
        f"CommandError: database: file is not a database: '{file_name}' is damaged, or no database; "
        "restore it from a backup; nothing was changed\n"
    )


def test_a_locked_database_is_one_line_and_nothing_is_applied(env):
    database = sqlite3.connect(f"{env['AUTHGATE_DATA_DIR']}/authgate.sqlite3", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    assert stderr_of_failure(env, "import", "-", stdin=DEMO) == (
        "CommandError: database: database is locked; nothing was changed\n"
    )
    assert database.execute("SELECT count(*) FROM authgate_route").fetchone() == (0,)
    database.close()


def test_a_database_out_of_reach_is_one_line_without_the_password(env):
    url = "postgresql://user:secret-word@127.0.0.1:1/x"
    error = stderr_of_failure({**env, "AUTHGATE_DATABASE_URL": url}, "show")
    assert error.startswith("CommandError: database: ")
    assert error.count("\n") == 1
    assert "secret-word" not in error


def check_concurrent_imports(env):
    texts = [demo_policy(f"http://127.0.0.1:{port}") for port in (9001, 9002, 9003)]
    with ThreadPoolExecutor(len(texts)) as pool:
        results = list(pool.map(lambda text: manage(env, "policy", "import", "-", stdin=text), texts))
    assert [result.stderr for result in results] == [""] * 3
    assert sorted(result.stdout.splitlines()[0] for result in results) == [f"revision {n} is live" for n in (1, 2, 3)]
    rows = [line.split() for line in manage(env, "policy", "history").stdout.splitlines()[1:]]
    # Each differs from the one before in its target alone: none was built on half of another.
    assert [row[5] for row in rows] == ["1", "1", "8"]


def test_concurrent_imports_wait_for_each_other(env):
    check_concurrent_imports(env)


def test_concurrent_imports_wait_for_each_other_on_postgresql(env, on_postgresql):
    check_concurrent_imports({**env, **on_postgresql()["env"]})
