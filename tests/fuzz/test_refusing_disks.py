"""A full disk and a read-only one, real ones, under every command that writes: a line, no traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("disks")]  # which share a fixture

SMALL = "--set training.epochs=1 --set model.image_size=16 --set model.width=4 --set model.depth=1"
COMMANDS = (
    "data synth --out disk/synth --clips 12",
    "data build --images images --out disk/built",
    f"train --data data/dataset.parquet --out disk/trained {SMALL}",
    "predict --model model.onnx --source images --out disk/p.csv",
    "export --checkpoint checkpoint.pt --out disk/e.onnx",
    "bench model.onnx --out disk/b.json",
    "demo --headless --model model.onnx --source images --csv disk/d.csv",
    "demo --headless --model model.onnx --source clip.mp4 --save disk/d.webm",
    "search --space space.yaml --data data/dataset.parquet --runs disk/runs",
    "search --resume --study fuzz-1 --runs disk",
    "report fuzz-1 --runs disk",
    "factory build-table --study fuzz-1 --runs disk --no-register",
    "search --resume --study fuzz-1",  # its study can be written, the registry lies on that disk
    "ui",
)
PREPARE = {
    "full": "mount -t tmpfs -o size=3m none disk && cp -rL runs/fuzz-1 disk/ && cat /dev/zero > disk/fill",
    "read-only": "cp -rL runs/fuzz-1 disk/ && mount --bind disk disk && mount -o remount,bind,ro disk",
}
DRIVER = """
import io, json, os, sys, traceback
from contextlib import redirect_stderr
import whc.cli
ended = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["whc", *command.split()]
    said = io.StringIO()
    code = None
    with redirect_stderr(said):
        try:
            whc.cli.main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            said.write(traceback.format_exc())
    ended.append([command, code, said.getvalue()])
print("ENDED" + json.dumps(ended))
"""


def may_mount() -> bool:
    """Whether a file system of one's own can be mounted, in a namespace that only its processes see."""
    unshare = shutil.which("unshare")
    return bool(unshare) and subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs Linux's user namespaces, to mount a disk")
@pytest.mark.parametrize("disk", list(PREPARE))
def test_every_command_that_writes(disk: str, samples: Path, tmp_path: Path) -> None:
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True, symlinks=True)
    (tmp_path / "disk").mkdir()
    (tmp_path / "mlflow" / "server.yaml").write_text(
        "database: disk/mlflow.db\nartifacts: disk/mlartifacts\nport: 5098\n"
    )
    script = f"{PREPARE[disk]}; exec {sys.executable} -c '{DRIVER}' '{json.dumps(COMMANDS)}'"
    command = ["unshare", "-rm", "sh", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert "ENDED" in done.stdout, done.stderr
    ended = json.loads(done.stdout.partition("ENDED")[2])
    assert [command for command, _, _ in ended] == list(COMMANDS)
    for command, code, said in ended:
        told = [line for line in said.splitlines() if line.startswith("error: ")]
        assert code in (1, 2), (command, code, said)
        assert len(told) == 1, (command, said)
        assert "Traceback" not in said, (command, said)
        assert "disk" in told[0], (command, told)
