"""Whose fault an error of an output is."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from whc.demo import outputs


def test_an_error_of_the_block_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    reason = OSError(5, "Input/output error", "source.png")
    with pytest.raises(OSError, match=r"source\.png") as caught, outputs.table(tmp_path / "a.csv") as write:
        write(["a"])
        raise reason
    assert caught.value is reason
    assert not list(tmp_path.iterdir())


LIMITED = """
    import sys
    from pathlib import Path
    import numpy as np
    from whc.demo import outputs, recording
    from whc.errors import UsageError
    path = Path(sys.argv[1])
    try:
        if path.suffix == ".csv":
            with outputs.table(path) as write:
                for number in range(100_000):
                    write((number,) * 10)
        else:
            with recording.video_file(path, (180, 320), 30) as write:
                noise = np.random.default_rng(0)
                for number in range(60):
                    picture = noise.integers(0, 255, (180, 320, 3), np.uint8)
                    write(outputs.Result(number, number / 30, picture, ()))
    except UsageError as error:
        print(error)
"""


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1/$4"'


@pytest.mark.parametrize("name", ["a.csv", "a.webm", "new/a.csv"])
def test_a_read_only_folder_is_told(tmp_path: Path, name: str) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the right to mount (root writes past chmod)")
    command = [
        "unshare",
        "-m",
        "bash",
        "-c",
        READ_ONLY,
        "-",
        str(tmp_path),
        sys.executable,
        textwrap.dedent(LIMITED),
        name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = "must be a file that can be written, got: Read-only file system; choose another path"
    assert (done.stdout, done.stderr) == (f"{tmp_path / name}: {told}\n", "")


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails, as it does on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.csv", "must be a file that can be written, got: File too large"),
        ("a.webm", "must hold 60 frames, got "),
        ("a.mp4", "must be a file that can be written, got: File too large"),
    ],
)
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, name: str, said: str) -> None:
    if name == "a.mp4":
        pytest.importorskip("av")
    path = tmp_path / name
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_files, check=True)
    assert done.stdout.startswith(f"{path}: {said}")
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
