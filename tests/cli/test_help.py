"""Help of every command, found by walking them: complete, and light."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import whc.cli
from whc.cli import Folder

HEAVY = ("torch", "ray", "mlflow", "optuna", "plotly", "cv2", "pandas", "onnxruntime", "numpy")
WITHOUT_RESULTS = {"ui"}

# Runs where nothing was imported before; walks the commands itself, so that a new one is in it.
PROBE = f"""
import json, sys
from pathlib import Path
import click
import whc.cli

def walk(command, name, parent):
    context = click.Context(command, info_name=name, parent=parent)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from walk(command.get_command(context, child), child, context)

root = whc.cli.Folder("whc.cli", Path(whc.cli.__file__).parent, "whc")
shown = dict(walk(root, "whc", None))
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps({{"shown": shown, "heavy": heavy}}))
"""


def walk(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from walk(found, context, child)
    else:
        yield context.command_path.removeprefix("whc "), command


ROOT = Folder("whc.cli", Path(whc.cli.__file__).parent, "whc")
COMMANDS = dict(walk(ROOT, None, "whc"))
GROUPS = sorted({name.split()[0] for name in COMMANDS if " " in name})


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["whc", *arguments])
    with pytest.raises(SystemExit) as end:
        whc.cli.main()
    return end.value.code


def test_the_commands_there_are() -> None:
    promised = {"data synth", "data info", "train", "export", "bench", "search", "factory build-table", "demo", "ui"}
    assert promised <= set(COMMANDS)


def test_help_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["heavy"] == []
    assert {f"whc {name}" for name in COMMANDS} < told["shown"].keys()
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["", *GROUPS, *COMMANDS])
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, *name.split(), "--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: {' '.join(['whc', *name.split()])} ")
    assert err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.opts[0]} of {name}"
            assert option.help.endswith((".", "]")), option.help
        elif isinstance(option, click.Argument):
            assert option.human_readable_name.upper() in command.help, f"{option.name} of {name}"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITHOUT_RESULTS])
def test_results_can_be_had_as_json(name: str) -> None:
    (flag,) = (option for option in COMMANDS[name].params if "--json" in option.opts)
    assert isinstance(flag, click.Option)
    assert flag.is_flag


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"whc, version {whc.__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("data",), ("factory",)])
def test_a_group_alone_shows_its_help(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "Commands:" in capsys.readouterr().err
