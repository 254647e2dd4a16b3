"""Text of users is shown as it is: no markup, no emoji, and nothing that a terminal would obey."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Group, RenderableType
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

import whc
from whc.cli._console import PlainConsole
from whc.cli._options import printable
from whc.latency import reference

Run = Callable[..., Any]
ROUGH = "[/x] [red] :smile: \x1b[31m\x9b2J"
SHOWN = "[/x] [red] :smile: \ufffd[31m\ufffd2J"


def table() -> Table:
    made = Table(title=ROUGH, caption=ROUGH)
    made.add_column(ROUGH)
    made.add_row(ROUGH)
    return made


@pytest.mark.parametrize(
    ("shown", "times"), [(ROUGH, 1), (Text(ROUGH), 1), (Group(ROUGH, Text(ROUGH)), 2), (table(), 4)]
)
def test_text_stands_as_it_is(shown: RenderableType, times: int, capsys: pytest.CaptureFixture[str]) -> None:
    PlainConsole().print(shown, soft_wrap=True)
    out, _ = capsys.readouterr()
    assert out.count(SHOWN) == times
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)


def test_colours_and_bars_still_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = PlainConsole(stderr=True)
    with Progress(TextColumn("{task.fields[what]}", style="bold", markup=False), console=console) as bar:
        bar.add_task("", what=ROUGH)
    _, err = capsys.readouterr()
    assert "\x1b[1m[/x] [red] :smile: \ufffd[31m" in err


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in Path(whc.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.name}:{node.lineno}", node


def test_there_is_no_other_console_and_nothing_else_reads_markup() -> None:
    """What is not made by `_options.messages` or `emit` would obey a label; so would a column or a spinner of text."""
    found = []
    for place, call in calls():
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in {"Console", "from_markup", "Spinner", "Prompt", "get_console"}:
            found.append(f"{place} {name}")
        if name == "TextColumn" and "{" in str(getattr(call.args[0], "value", "{")):
            plain = [item.value for item in call.keywords if item.arg == "markup"]
            if not plain or getattr(plain[0], "value", True):
                found.append(f"{place} {name}")
        if name == "status" and not isinstance(call.args[0], ast.Constant):
            found.append(f"{place} {name}")
    assert found == []


def test_labels_and_paths_of_a_data_set(home: Path, whc_command: Run) -> None:
    folder = home / "[/x]"
    folder.mkdir(parents=True)
    rows = range(4)
    columns = {
        "split": ["train"] * 2 + ["val"] + ["test"],
        "class_id": [i % 2 for i in rows],
        "label": [("[/no]\x1b[2J", "[red]yes")[i % 2] for i in rows],
        "image_bytes": [b"?" for _ in rows],
        "image_path": [f"[/path]{i}" for i in rows],
    }
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    ended = whc_command("data", "info", "[/x]/labels.parquet")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("[/x]/labels.parquet: 4 rows")
    assert "[/no]\ufffd[2J" in ended.out
    assert "[red]yes" in ended.out
    assert "[/path]0" in ended.out
    assert "\x1b" not in ended.out


def test_paths_of_timed_files(home: Path, whc_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    (home / "[").mkdir()
    reference.write(home / "[/x].onnx")
    ended = whc_command("bench", "[/x].onnx", "\x1b[31mgone.onnx")
    assert "files in [\n" in ended.out
    assert " x].onnx " in ended.out
    assert ended.err.startswith("error: \ufffd[31mgone.onnx: must be an ONNX file, got nothing there")


def test_a_message_of_several_lines_stays_so() -> None:
    assert printable("a\tb\nc\r\x85d") == "a\tb\nc\ufffd\ufffdd"
