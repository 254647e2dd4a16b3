"""The Ray cluster that trials run on: one of this machine alone, or one that runs already on several.

What is set in the environment for other clusters never reaches ours.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from whc.errors import ClusterError, UsageError, problem

START = "start one with `ray start --head`, or leave it out"
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would pack and send the current folder, data and all
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # snapshots of Ray's own state, which nobody reads and which grow
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a banner even when told to be quiet
}
# What says who may join a cluster, and where `auto` looks for one.
ACCESS = ("RAY_AUTH_", "RAY_TLS_", "RAY_USE_TLS", "RAY_TMPDIR")
LONGEST_FOLDER = 26  # in bytes: Ray's sockets lie 77 further down, and a socket's path must not be longer than 103


@contextmanager
def started(workers: int, corpus_bytes: int, next_step: str = "run the command again") -> Iterator[None]:
    """A Ray cluster on this machine for the length of the context.

    Args:
        workers: trials at once; each gets one core.
        corpus_bytes: size of the data that the object store must hold.
        next_step: how to go on after a start that failed.

    Raises:
        ClusterError: Ray does not start, on a busy machine not in time.
    """
    settings = {"TUNE_MAX_PENDING_TRIALS_PG": str(workers), "RAY_AUTH_TOKEN": _own_token()}
    with _environment(settings), _scratch() as folder:
        import ray  # reads its settings when imported

        try:
            with _signals_are_ours():
                ray.init(
                    address="local",
                    num_cpus=workers,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=max(256 << 20, 2 * corpus_bytes),
                    _temp_dir=folder,
                )
        except Exception as error:  # (when it takes too long, Ray raises nothing more particular)
            reason = str(error).split(". ")[0].splitlines()[0]
            wait = f"wait until this machine is less busy, then {next_step}"
            raise ClusterError(problem("Ray", "must start on this machine", reason, wait)) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def joined(address: str) -> Iterator[int]:
    """A running Ray cluster, joined for the length of the context; gives its number of cores.

    Args:
        address: `host:port` of its head, or `auto` for the one that runs on this machine.

    Raises:
        UsageError: nobody answers there, it asks for another token, or it is no Ray cluster of the same version.
    """
    if address != "auto":
        _check_answers(address)
    access = {"RAY_NUM_REDIS_GET_RETRIES": "1"}  # it answers: asking 20 times gives nothing more
    access |= {name: value for name, value in os.environ.items() if name.startswith(ACCESS)}
    with _environment(access):
        import ray

        try:
            with _silent(), _signals_are_ours():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": SETTINGS},
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise _not_joined(address, error) from error
        try:
            cores = int(ray.cluster_resources().get("CPU", 0))
            os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(cores)
            yield cores
        finally:
            ray.shutdown()


@contextmanager
def _signals_are_ours() -> Iterator[None]:
    """Within, Ray starts: its servers in a group of their own, and without a handler in this process.

    A terminal that closes, or `timeout`, signals the whole group. Whoever asks this process to end finds its servers
    alive then, and Ray's handler would end the process in the middle of things.
    """
    from ray._private import services

    before, start = signal.getsignal(signal.SIGTERM), services.ConsolePopen
    services.ConsolePopen = partial(start, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def several_nodes() -> bool:
    """Whether a cluster has been joined that has more nodes than this one."""
    ray = sys.modules.get("ray")  # not imported here: it reads its settings when it is
    return ray is not None and ray.is_initialized() and len([node for node in ray.nodes() if node["Alive"]]) > 1


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Ray's variables as whc sets them, with `changes`, for the length of the context.

    All others of Ray's that are there go: each may lead elsewhere (RAY_ADDRESS, RAY_OVERRIDE_RESOURCES, ...). Those in
    small letters (RAY_memory_usage_threshold, ...) stay: they tune a cluster, whichever it is.
    """
    before = _variables()
    for name in before:
        del os.environ[name]
    os.environ.update({**SETTINGS, **changes})
    try:
        yield
    finally:
        for name in _variables():
            del os.environ[name]
        os.environ.update(before)


def _variables() -> dict[str, str]:
    return {n: value for n, value in os.environ.items() if n.startswith(("RAY_", "TUNE_")) and n.isupper()}


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on stderr for the length of the context: Ray's core writes there what is then raised as well."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for Ray's logs and sockets, with a path short enough for these, gone when the cluster is."""
    usual = tempfile.gettempdir()
    folder = usual if len(os.fsencode(usual)) <= LONGEST_FOLDER else "/tmp"  # noqa: S108 (a folder of our own in it)
    return tempfile.TemporaryDirectory(prefix="whc-", dir=folder, ignore_cleanup_errors=True)


@cache
def _own_token() -> str:
    """Who may use a cluster of this process. Told its processes alone: Ray would write a token into the home folder."""
    return secrets.token_hex(32)


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(problem("--address", "must be HOST:PORT or auto", address, START))
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        rule = f"must be a Ray cluster that can be reached ({error})"
        raise UsageError(problem("--address", rule, address, START)) from error


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def _token_there() -> bool:
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or os.access(_token_file(), os.R_OK)


def _not_joined(address: str, error: Exception) -> UsageError:
    """What to tell of a cluster that refuses us."""
    if "auth" not in f"{error} {error.__cause__}".lower():
        reason = str(error).splitlines()[0]
        return UsageError(problem("--address", f"must be a Ray cluster ({reason})", address, START))
    file, mode = _token_file(), os.environ.get("RAY_AUTH_MODE") or "not set"
    if not _token_there():
        reason = f"there is no {file}"
    elif mode.lower() != "token":  # nor may it be set wherever there is a token: a cluster without one then fails
        reason = f"RAY_AUTH_MODE is {mode}"
    else:
        reason = f"that in {'RAY_AUTH_TOKEN' if os.environ.get('RAY_AUTH_TOKEN') else file} is another"
    rule = f"must be a Ray cluster whose token is at hand ({reason})"
    copy = f"copy the head's ~/.ray/auth_token to {file}, or name its copy in RAY_AUTH_TOKEN_PATH"
    advice = f"{copy}, and set RAY_AUTH_MODE=token"
    return UsageError(problem("--address", rule, address, advice))
