"""The command line: one file a command, found by listing this folder; only click is imported before a command runs.

A file defines `command`. A folder is a group of commands. Files that begin with `_` are not commands.
"""

from __future__ import annotations

import importlib
import io
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import click

from whc import __version__
from whc.cli._endings import CommandEnding, as_ctrl_c


class Folder(click.Group):
    """A click group whose commands are the files and folders of a package, imported when they are asked for."""

    def __init__(self, package: str, path: Path, name: str | None = None) -> None:
        super().__init__(name, help=importlib.import_module(package).__doc__)
        self._package = package
        self._path = path

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the files and folders, as commands are written."""
        items = (item for item in self._path.iterdir() if not item.name.startswith(("_", ".")))
        return sorted(item.stem.replace("_", "-") for item in items if item.suffix == ".py" or item.is_dir())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in self.list_commands(ctx):
            return None
        stem = name.replace("-", "_")
        package = f"{self._package}.{stem}"
        if (self._path / stem).is_dir():
            return Folder(package, self._path / stem, name)
        command: click.Command = importlib.import_module(package).command
        command.name = name
        return command


def main() -> None:
    """Entry point of `whc`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name in another encoding must not stop the output
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' deprecations are for developers; tests turn them into errors
    root = Folder(__name__, Path(__file__).parent, "whc")
    root.help = "Families of tiny vision models: search, time, choose, register and run them."
    root.context_settings["max_content_width"] = shutil.get_terminal_size().columns
    root = click.version_option(__version__, prog_name="whc")(root)
    with as_ctrl_c() as ending:
        _run(root, ending)


def _run(root: click.Group, ending: CommandEnding) -> NoReturn:
    """Run a command and exit. Errors that a user can mend are printed as lines on stderr; bugs keep their traceback."""
    from whc.cli._usage import explanation
    from whc.errors import WhcError, refusal

    try:
        status = root.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _print_errors(explanation(error, sys.argv[1:], root))
        sys.exit(error.exit_code)
    except WhcError as error:
        _print_errors(str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(ending.exit_code)
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe: no more output is possible.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except ModuleNotFoundError as error:
        if (error.name or "whc").partition(".")[0] in ("whc", *sys.stdlib_module_names):
            raise
        _print_errors(
            f"module {error.name}: must be installed for this command, got none; run `pip install 'whc[cpu]'`, or "
            "`pip install 'whc[gpu]'` where there is an NVIDIA GPU"
        )
        sys.exit(WhcError.exit_code)
    except OSError as error:
        message = refusal(error)
        if message is None:
            raise
        _print_errors(message)
        sys.exit(WhcError.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


def _print_errors(problems: str) -> None:
    """Print problems on stderr, one a line, each marked as an error."""
    from whc.cli._options import printable

    for line in printable(problems).split("\n"):
        click.echo(f"error: {line}", err=True)
