from __future__ import annotations

import atexit
import gc
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

# Django reads its settings from these. Nothing an operator has exported may reach the tests, and no test may
# touch the checkout's own var/.
for _name in [name for name in os.environ if name.startswith("AUTHGATE_")]:
    del os.environ[_name]
DATA_DIR = tempfile.mkdtemp(prefix="authgate-tests-")
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
os.environ["AUTHGATE_DATA_DIR"] = DATA_DIR
os.environ["AUTHGATE_PUBLIC_URL"] = "http://gateway.test"
os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_site.settings"
# Hundreds of processes are started: each would compile every module again, and every run every test.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from django.conf import settings  # noqa: E402  (after the environment)

settings.INSTALLED_APPS  # noqa: B018  loads them, which is what makes pytest-django set Django up
# pytest-django knows only Django's own SQLite to be in memory.
settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = ":memory:"

from tests.support import processes  # noqa: E402
from tests.support.certificates import Certificates, make_certificates  # noqa: E402
from tests.support.gateway import Gateway, make_template  # noqa: E402
from tests.support.oidc import OpenIdProvider, ProviderUnavailable  # noqa: E402
from tests.support.policies import demo_policy  # noqa: E402
from tests.support.postgres import Postgres, PostgresUnavailable  # noqa: E402
from tests.support.upstream import RecordingUpstream  # noqa: E402
from tests.support.valkey import Valkey, ValkeyUnavailable  # noqa: E402

pytest_plugins = ["tests.support.skips", "tests.support.databases"]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    gc.disable()  # thousands of tests come to be, and all of them stay
    try:
        if worker := getattr(session.config, "workerinput", None):
            _import_tests(session.config.args, int(worker["workerid"].removeprefix("gw")) / worker["workercount"])
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_tests(arguments: list[str], begin: float) -> None:
    """Each worker begins elsewhere: what one has rewritten and compiled, the others find on the disk."""
    paths = sorted(path.resolve() for folder in arguments for path in Path(folder).rglob("test_*.py"))
    first = int(len(paths) * begin)
    for path in paths[first:] + paths[:first]:
        with suppress(Exception):  # pytest imports it again, and tells what is wrong
            importlib.import_module(".".join(path.relative_to(processes.ROOT).with_suffix("").parts))


@pytest.fixture(autouse=True)
def no_known_providers() -> None:
    """What this process has learned of a provider may be of another test's, which had the same port."""
    from authgate.oidc import jwks, metadata

    for cache in (jwks._key_sets, metadata._discovered):
        cache._entries.clear()


@pytest.fixture(scope="session", autouse=True)
def starter() -> Iterator[None]:
    yield
    if processes.starter.cache_info().currsize:
        processes.starter().end()


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The rows of `make_world`, made once for the tests of a module: each takes back only what it did itself."""
    from django.db import transaction

    from tests.support.operators import make_world

    with django_db_blocker.unblock(), transaction.atomic():
        make_world()
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="session")
def session_upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(session_upstream: RecordingUpstream) -> Iterator[RecordingUpstream]:
    """What every route of `gateway` leads to, with nothing recorded and the default answer."""
    session_upstream.clear()
    yield session_upstream
    # Tests that record nothing ask for the default answer without this fixture, in any order.
    session_upstream.clear()


@pytest.fixture(scope="session")
def gateway_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template") / "data")


@pytest.fixture(scope="session")
def gateway(
    gateway_template: Path, session_upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One gateway for all tests that leave its policy and database as they are."""
    data_dir = tmp_path_factory.mktemp("gateway") / "data"
    with Gateway(data_dir, template=gateway_template, policy=demo_policy(session_upstream.target)) as gateway:
        yield gateway.start()


StartGateway = Callable[..., Gateway]


@pytest.fixture
def start_gateway(gateway_template: Path, upstream: RecordingUpstream, tmp_path: Path) -> Iterator[StartGateway]:
    """`start_gateway(policy=, workers=, args=, tls=, env=)`: a gateway of the test's own."""
    started: list[Gateway] = []

    def start(**options: object) -> Gateway:
        options.setdefault("policy", demo_policy(upstream.target))
        options.setdefault("template", gateway_template)
        gateway = Gateway(tmp_path / f"gateway{len(started)}", **options)  # type: ignore[arg-type]
        started.append(gateway)
        return gateway.start()

    yield start
    for gateway in started:
        gateway.stop()


StartOpenIdProvider = Callable[..., OpenIdProvider]


@pytest.fixture
def start_openid_provider() -> Iterator[StartOpenIdProvider]:
    """`start_openid_provider(gateway, slug=, name=, **options of OpenIdProvider)`: where people of this gateway
    sign in.
    """
    with ExitStack() as running:

        def start(gateway: Gateway, *, slug: str = "main", name: str = "Main", **options: Any) -> OpenIdProvider:
            provider = OpenIdProvider(**options)
            running.callback(provider.remove)
            try:
                provider.register(gateway, slug=slug, name=name)
                return provider.start()
            except ProviderUnavailable as error:
                pytest.skip(f"needs the OpenID provider: {error}")

        yield start


@pytest.fixture(scope="module")
def openid() -> Iterator[OpenIdProvider]:
    """Not started yet: its clients can be named before."""
    provider = OpenIdProvider()
    try:
        provider.find()
        yield provider
    except ProviderUnavailable as error:
        pytest.skip(f"needs the OpenID provider: {error}")
    finally:
        provider.remove()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = Postgres()
    except PostgresUnavailable as error:
        pytest.skip(f"needs PostgreSQL: {error}")
    with server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    try:
        server = Valkey()
    except ValkeyUnavailable as error:
        pytest.skip(f"needs Valkey: {error}")
    yield server
    server.stop()
