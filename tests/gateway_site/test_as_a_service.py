"""`manage.py serve` under a service manager: what it says of itself, and the sockets it is given."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.certificates import Certificates
from tests.support.gateway import Gateway, environment
from tests.support.service_manager import Ear, abstract_name, start_with_sockets

WATCHDOG = 4.0
both_servers = pytest.mark.parametrize("args", [(), ("--http2",)], ids=["http1", "http2"])


@contextmanager
def served(start_gateway: Callable[..., Gateway], address: str, **options: object) -> Iterator[tuple[Gateway, Ear]]:
    with Ear(address) as ear:
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}
        yield start_gateway(env=env, **options), ear


@both_servers
def test_it_is_ready_once_a_worker_serves_and_says_so_itself(start_gateway, args):
    with served(start_gateway, abstract_name(), args=args) as (gateway, ear):
        ear.wait("READY")
        assert gateway.get("/health").status == 200
        ear.wait("WATCHDOG")
        assert {heard.pid for heard in ear.heard} == {gateway.process.pid}
        assert "1 of 1 workers serving" in [heard.state.get("STATUS") for heard in ear.heard]


def test_a_socket_with_a_path_hears_it_too(start_gateway, tmp_path):
    with served(start_gateway, str(tmp_path / "notify")) as (_, ear):
        ear.wait("READY")


@both_servers
def test_term_is_announced_before_the_workers_end(start_gateway, args):
    with served(start_gateway, abstract_name(), args=args) as (gateway, ear):
        ear.wait("READY")
        gateway.process.send_signal(signal.SIGTERM)
        ear.wait("STOPPING")
        assert gateway.process.wait(15) == 0


@both_servers
def test_hup_is_a_reload_with_its_time_and_an_end(start_gateway, args):
    with served(start_gateway, abstract_name(), args=args) as (gateway, ear):
        ear.wait("READY")
        before, old = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000, gateway.worker_pids()
        gateway.process.send_signal(signal.SIGHUP)
        reloading = ear.wait("RELOADING")
        assert before < int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        ear.wait("READY")
        assert not {*old} & {*gateway.worker_pids()}


def is_silent(ear: Ear) -> bool:
    """After the time in which heartbeats count, whether the watchdog hears nothing for as long as it waits."""
    ear.listen(WATCHDOG / 2 + 1)
    return not any("WATCHDOG" in state for state in ear.listen(WATCHDOG))


@both_servers
def test_the_watchdog_hears_nothing_while_all_workers_hang(start_gateway, args):
    with served(start_gateway, abstract_name(), args=args, workers=2) as (gateway, ear):
        ear.wait("WATCHDOG")
        first, second = gateway.worker_pids()[-2:]
        os.kill(first, signal.SIGSTOP)
        ear.wait("STATUS", "1 of 2 workers serving")
        ear.wait("WATCHDOG")
        os.kill(second, signal.SIGSTOP)
        assert is_silent(ear)
        os.kill(first, signal.SIGCONT)
        ear.wait("WATCHDOG")
        os.kill(second, signal.SIGCONT)


def test_the_watchdog_hears_nothing_while_the_process_above_the_workers_hangs(start_gateway):
    with served(start_gateway, abstract_name()) as (gateway, ear):
        ear.wait("WATCHDOG")
        os.kill(gateway.process.pid, signal.SIGSTOP)
        assert not any("WATCHDOG" in state for state in ear.listen(WATCHDOG))
        os.kill(gateway.process.pid, signal.SIGCONT)


def test_the_watchdog_hears_of_a_draining_gateway_s_reload(start_gateway, upstream):
    """The request in flight holds the reload for longer than the watchdog waits."""
    with served(start_gateway, abstract_name(), args=("--http2",)) as (gateway, ear):
        upstream.reply(lambda connection, request: time.sleep(WATCHDOG + 6), path="/api/public/held")
        ear.wait("WATCHDOG")
        with gateway.connect() as client:
            client.send(raw.request("GET", "/api/public/held", host=f"localhost:{gateway.port}"))
            upstream.wait(1)
            gateway.process.send_signal(signal.SIGHUP)
            ear.wait("RELOADING")
            ear.listen(4)
            heard = [state for state in ear.listen(WATCHDOG) if "WATCHDOG" in state]
        assert len(heard) >= 2


def test_a_notify_socket_that_is_gone_changes_nothing(start_gateway):
    gateway = start_gateway(env={"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "4000000"})
    time.sleep(1.2)
    assert gateway.get("/health").status == 200


def test_a_watchdog_of_another_process_is_not_ours(start_gateway):
    with Ear(abstract_name()) as ear:
        start_gateway(env={"NOTIFY_SOCKET": ear.address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"})
        ear.wait("READY")
        assert not any("WATCHDOG" in state for state in ear.listen(2))


# --- sockets -------------------------------------------------------------------------------------------------


@pytest.fixture
def env(gateway_template: Path, tmp_path: Path) -> dict[str, str]:
    shutil.copytree(gateway_template, tmp_path / "data")
    return environment(tmp_path / "data", AUTHGATE_PUBLIC_URL="https://gateway.example.com")


@contextmanager
def activated(env: dict[str, str], names: list[str], *args: str, log: Path) -> Iterator[dict[str, socket.socket]]:
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    process = start_with_sockets(env, list(sockets.items()), ("--workers", "1", *args), log)
    try:
        yield sockets
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
            for listener in sockets.values():
                listener.close()


def tls(certificates: Certificates) -> tuple[str, ...]:
    return "--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file)


@both_servers
def test_sockets_that_were_handed_over_are_served_by_their_names(env, certificates, tmp_path, args):
    log = tmp_path / "log"
    # A connection that came before the service waits for it.
    with activated(env, ["redirect", "https"], *args, *tls(certificates), log=log) as sockets:
        moved = raw.exchange(sockets["redirect"].getsockname(), raw.request(target="/a?b"), timeout=20)
        assert (moved.status, moved.header("location")) == (308, "https://gateway.example.com/a?b")
        answered = raw.exchange(
            sockets["https"].getsockname(), raw.request(target="/health"), tls=certificates.client_context(), timeout=20
        )
        assert answered.status == 200, log.read_text()


def test_a_plain_socket_is_served_where_a_proxy_has_the_certificate(env, tmp_path):
    with activated(env, ["http"], log=tmp_path / "log") as sockets:
        answered = raw.exchange(sockets["http"].getsockname(), raw.request(target="/health"), timeout=20)
        assert answered.status == 200


def refusal(env, sockets, *args, log: Path) -> str:
    process = start_with_sockets(env, sockets, args, log)
    assert process.wait(30) == 1, log.read_text()
    (line,) = [line for line in log.read_text().splitlines() if line.startswith("CommandError")]
    return line


@pytest.mark.parametrize(
    ("names", "with_tls", "problem"),
    [
        (["https"], False, "named 'https', but there is no --tls-cert"),
        (["http"], True, "named 'http', but --tls-cert is given"),
        (["http", "http"], False, "two sockets named 'http': one ListenStream= for each name"),
        (["authgate.socket"], True, "named 'authgate.socket': FileDescriptorName= must be http, https or redirect"),
    ],
)
def test_a_socket_that_would_speak_something_else_is_refused(env, certificates, tmp_path, names, with_tls, problem):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        args = tls(certificates) if with_tls else ()
        assert problem in refusal(env, [(name, listener) for name in names], *args, log=tmp_path / "log")


def test_a_redirect_needs_an_https_url(env, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = {**env, "AUTHGATE_PUBLIC_URL": "http://gateway.example.com"}
        assert "not an https URL" in refusal(plain, [("redirect", listener)], log=tmp_path / "log")


def test_a_socket_that_does_not_listen_is_refused(env, tmp_path):
    with socket.socket() as unbound:
        line = refusal(env, [("http", unbound)], log=tmp_path / "log")
    assert "named 'http' that is not a listening TCP socket" in line


def test_variables_for_another_process_are_not_ours(start_gateway):
    gateway = start_gateway(env={"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"})
    assert gateway.get("/health").status == 200
