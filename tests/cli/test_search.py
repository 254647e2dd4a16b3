"""`whc search` that ends before a trial began: it leaves no study, or one that goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
NEW = ("search", "--space", "space.yaml", "--study", "x")


@pytest.fixture
def data(home: Path, whc_command: Command, write_space: Callable[..., None]) -> Path:
    """Rendered data, and a space beside it."""
    write_space(home, epochs=1)
    assert whc_command("data", "synth", "--out", "data", "--clips", 6).code == 0
    return Path("data", "dataset.parquet")


def test_nothing_is_left_where_no_study_began(data: Path, whc_command: Command) -> None:
    ended = whc_command(*NEW, "--data", data, "--address", "127.0.0.1:9")
    assert ended.code == 2
    assert "--address: must be a Ray cluster that can be reached" in ended.err
    assert not Path("runs", "x").exists()
    assert whc_command(*NEW, "--data", "missing.parquet").code == 1
    assert not Path("runs", "x").exists()
    note = Path("runs", "x", "note.txt")  # somebody else's
    note.parent.mkdir()
    note.touch()
    assert whc_command(*NEW, "--data", "missing.parquet").code == 1
    assert list(note.parent.iterdir()) == [note]


@pytest.mark.slow
def test_goes_on_after_a_ray_that_did_not_start(
    data: Path, whc_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def slow(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because some of the raylet ...")

    with monkeypatch.context() as busy:
        busy.setattr(ray, "init", slow)
        for arguments in ((*NEW, "--data", data, "--trials", 1), ("search", "--resume")):
            ended = whc_command(*arguments)
            assert ended.code == 1
            assert ended.err.splitlines()[-1] == (
                "error: Ray: must start on this machine, got 'The current node timed out during startup'; "
                "wait until this machine is less busy, then `whc search --resume --study x`"
            )
    assert whc_command("search", "--resume", "--study", "x").code == 0
