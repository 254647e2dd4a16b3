"""The Ray cluster that trials run on: a new one on this machine alone, or a running one of several machines.

Environment variables that are set for other clusters do not affect ours.
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

START_ADVICE = "start one with `ray start --head`, or leave it out"
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would send the current folder with all data
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # no snapshots of Ray's own state: nobody reads them, and they grow
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a banner even in quiet mode
}
# Beginnings of the variables that control who may join a cluster, and where `auto` looks for one.
ACCESS_PREFIXES = ("RAY_AUTH_", "RAY_TLS_", "RAY_USE_TLS", "RAY_TMPDIR")
MAX_FOLDER_BYTES = 26  # Ray's sockets add 77 bytes to the folder's path, and a socket's path may have at most 103


@contextmanager
def started(workers: int, corpus_bytes: int, next_step: str = "run the command again") -> Iterator[None]:
    """A Ray cluster on this machine for the length of the context.

    Args:
        workers: number of trials at once; each gets one core.
        corpus_bytes: size of the data that the object store must hold.
        next_step: what the user can do after a failed start.

    Raises:
        ClusterError: Ray does not start, or not in time on a busy machine.
    """
    settings = {"TUNE_MAX_PENDING_TRIALS_PG": str(workers), "RAY_AUTH_TOKEN": _own_token()}
    with _environment(settings), _scratch_folder() as folder:
        import ray  # reads its settings when imported

        try:
            with _ray_without_signal_handling():
                ray.init(
                    address="local",
                    num_cpus=workers,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=max(256 << 20, 2 * corpus_bytes),
                    _temp_dir=folder,
                )
        except Exception as error:  # Ray has no own exception for a start that takes too long
            reason = str(error).split(". ")[0].splitlines()[0]
            wait = f"wait until this machine is less busy, then {next_step}"
            raise ClusterError(problem("Ray", "must start on this machine", reason, wait)) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def joined(address: str) -> Iterator[int]:
    """Join a running Ray cluster for the length of the context; yields its number of cores.

    Args:
        address: `host:port` of its head, or `auto` for the cluster that runs on this machine.

    Raises:
        UsageError: nothing answers there, it needs another token, or it is not a Ray cluster of the same version.
    """
    if address != "auto":
        _check_answers(address)
    access = {"RAY_NUM_REDIS_GET_RETRIES": "1"}  # it has answered already, so Ray's 20 retries are useless
    access |= {name: value for name, value in os.environ.items() if name.startswith(ACCESS_PREFIXES)}
    with _environment(access):
        import ray

        try:
            with _stderr_silenced(), _ray_without_signal_handling():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": RAY_SETTINGS},
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise _join_error(address, error) from error
        try:
            cores = int(ray.cluster_resources().get("CPU", 0))
            os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(cores)
            yield cores
        finally:
            ray.shutdown()


@contextmanager
def _ray_without_signal_handling() -> Iterator[None]:
    """While Ray starts, put its servers into a process group of their own, and keep its signal handler out of ours.

    A terminal that closes, or `timeout`, signals the whole group: our process still needs the servers when it ends.
    Ray's handler would end our process at once, before it can finish its work.
    """
    from ray._private import services

    handler_before, start_process = signal.getsignal(signal.SIGTERM), services.ConsolePopen
    services.ConsolePopen = partial(start_process, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start_process
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler_before)


def several_nodes() -> bool:
    """Whether this process has joined a cluster of more than one node."""
    ray = sys.modules.get("ray")  # not imported here, because Ray reads its settings at its import
    return ray is not None and ray.is_initialized() and len([node for node in ray.nodes() if node["Alive"]]) > 1


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set Ray's variables to ours, with `changes`, for the length of the context.

    All other variables of Ray are removed: each may lead to another cluster (RAY_ADDRESS, RAY_OVERRIDE_RESOURCES, ...).
    Those with small letters (RAY_memory_usage_threshold, ...) stay: they tune any cluster.
    """
    variables_before = _ray_variables()
    for name in variables_before:
        del os.environ[name]
    os.environ.update({**RAY_SETTINGS, **changes})
    try:
        yield
    finally:
        for name in _ray_variables():
            del os.environ[name]
        os.environ.update(variables_before)


def _ray_variables() -> dict[str, str]:
    return {n: value for n, value in os.environ.items() if n.startswith(("RAY_", "TUNE_")) and n.isupper()}


@contextmanager
def _stderr_silenced() -> Iterator[None]:
    """Suppress stderr for the length of the context: Ray's core prints errors there that it also raises."""
    stderr_copy = os.dup(2)
    null_device = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_device, 2)
    os.close(null_device)
    try:
        yield
    finally:
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)


def _scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder for Ray's logs and sockets, with a path short enough for sockets."""
    default = tempfile.gettempdir()
    folder = default if len(os.fsencode(default)) <= MAX_FOLDER_BYTES else "/tmp"  # noqa: S108 (a folder of our own in it)
    return tempfile.TemporaryDirectory(prefix="whc-", dir=folder, ignore_cleanup_errors=True)


@cache
def _own_token() -> str:
    """Token of a cluster that this process starts; without it, Ray would write one into the home folder."""
    return secrets.token_hex(32)


def _check_answers(address: str) -> None:
    """Raise UsageError at once where nothing answers; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(problem("--address", "must be HOST:PORT or auto", address, START_ADVICE))
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        rule = f"must be a Ray cluster that can be reached ({error})"
        raise UsageError(problem("--address", rule, address, START_ADVICE)) from error


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def _has_token() -> bool:
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or os.access(_token_file(), os.R_OK)


def _join_error(address: str, error: Exception) -> UsageError:
    """The error for a cluster that cannot be joined."""
    if "auth" not in f"{error} {error.__cause__}".lower():
        reason = str(error).splitlines()[0]
        return UsageError(problem("--address", f"must be a Ray cluster ({reason})", address, START_ADVICE))
    file, mode = _token_file(), os.environ.get("RAY_AUTH_MODE") or "not set"
    if not _has_token():
        reason = f"there is no {file}"
    elif mode.lower() != "token":  # not set by us: a cluster without a token would then fail
        reason = f"RAY_AUTH_MODE is {mode}"
    else:
        reason = f"that in {'RAY_AUTH_TOKEN' if os.environ.get('RAY_AUTH_TOKEN') else file} is another"
    rule = f"must be a Ray cluster whose token is at hand ({reason})"
    copy = f"copy the head's ~/.ray/auth_token to {file}, or name its copy in RAY_AUTH_TOKEN_PATH"
    advice = f"{copy}, and set RAY_AUTH_MODE=token"
    return UsageError(problem("--address", rule, address, advice))
