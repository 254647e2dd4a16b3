"""A PostgreSQL of Debian's on this machine's own address, with a password, for the tests of shared registries."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "s3cret/pass@word"
LOGIN = "postgres:s3cret%2Fpass%40word"
_SETTINGS = "-c listen_addresses=127.0.0.1 -c fsync=off -c unix_socket_directories={folder} -p {port}"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(binaries: Path) -> Iterator[int]:
    """A database server for the length of the context; yields its port. It refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="whc-pg-"))
    is_root = os.getuid() == 0
    if is_root:
        entry = pwd.getpwnam("postgres")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    runner = ["runuser", "-u", "postgres", "--"] if is_root else []

    def run(program: str, *arguments: str) -> None:
        command = [*runner, str(binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=300)

    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data, port = str(folder / "data"), free_port()
    try:
        run("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-N")
        settings = _SETTINGS.format(folder=folder, port=port)
        run("pg_ctl", "-D", data, "-o", settings, "-l", str(folder / "log"), "-w", "-t", "120", "start")
        try:
            yield port
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
