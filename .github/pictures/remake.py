"""Remake README's pictures and ladders, all from one run of the code that is here: `make pictures`.

It searches, builds both ladders, looks at the registry with headless Chromium, and rewrites what lies between README's
markers. With `--small` it takes minutes, and leaves the repository as it is: everything lies in the work folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from whc.config import dump_yaml
from whc.records import LadderTable, trial_records

ROOT = Path(__file__).parents[2]
PORT = 5099
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = (1500, 620)
LOADING_MS = 30_000  # of the page's own time, for MLflow's pages to fetch and draw what they show
CLOSE = b"""<style>[class*=modal-mask], [class*=modal-wrap], [role=dialog] { display: none !important }</style>
<script>setInterval(() => {
const buttons = '[role=dialog] button[aria-label=Close], [data-component-id^="mlflow.assistant.chat_panel.close"]';
document.querySelectorAll(buttons).forEach(button => button.click()) }, 500)</script>"""
WHC = (sys.executable, "-c", "from whc.cli import main; main()")
SMALL = {
    "min_gain": 0,
    "min_over_floor": 0,
    "confidence": 0.01,
    "refit": {"seeds": 0, "candidates": 3},
    "timing": {"min_rounds": 10, "max_rounds": 20},
}


def whc(folder: Path, *arguments: object) -> str:
    """Run a command in a folder; gives its stdout, and shows it."""
    words = [str(argument) for argument in arguments]
    click.echo(f"$ whc {' '.join(words)}", err=True)
    environment = os.environ | {"COLUMNS": "100"}
    done = subprocess.run([*WHC, *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        raise click.ClickException(
            f"whc {words[0]} must end well, got exit code {done.returncode}; see the lines above"
        )
    click.echo(done.stdout, err=True)
    return done.stdout


def ladder(folder: Path, name: str, data: Path, trials: int | None) -> str:
    """Search the space `name` and build its ladder, with few trials and a quick recipe where `trials` is given.

    Gives what `build-table` printed.
    """
    quick = []
    if trials is not None:
        prefix = {"tiny": "whc"}.get(name, name)
        (folder / f"{name}.yaml").write_text(dump_yaml({"prefix": prefix, **SMALL}), encoding="utf-8")
        quick = ["--recipe", f"{name}.yaml"]
    asked = [] if trials is None else ["--trials", trials]
    study = ("--study", f"{name}-1")
    whc(folder, "search", "--space", name, "--data", data, *study, *asked)
    return whc(folder, "factory", "build-table", *study, *quick)


def searched(study: Path) -> str:
    """How a search went, in a sentence."""
    records = list(trial_records(study))
    rejected = sum(one.state == "infeasible" for one in records)
    minutes = max(one.elapsed_s for one in records) / 60
    took = f"{minutes:.0f} minutes" if round(minutes) > 1 else "a minute"
    return f"{len(records)} trials in {took} on {os.cpu_count()} cores, {rejected} of them rejected before training."


def shown(study: Path) -> str:
    """A ladder as README shows it: its table, and how far to trust it."""
    table = LadderTable.model_validate_json((study / "table.json").read_text(encoding="utf-8"))
    lines = (study / "table.md").read_text(encoding="utf-8").partition("\n## ")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    constant = next((line for line in lines if "Always calling" in line or "best constant" in line), "")
    at_95 = f"at 95 % {table.variants_at_95} would be left"
    confidence = f"Each adds to the faster one with {100 * table.confidence:.0f} % confidence; {at_95}."
    return "\n".join([searched(study), "", *rows, "", f"{confidence} {constant}".strip()])


def replaced(text: str, name: str, content: str) -> str:
    """README's text with other content between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: it has no such markers.
    """
    pattern = rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)"
    text, times = re.subn(pattern, lambda _: f"{content.strip()}\n", text, flags=re.DOTALL)
    if times != 1:
        raise ValueError(f"README must have one <!-- {name} --> ... <!-- /{name} -->, got {times}")
    return text


@contextmanager
def ui(folder: Path) -> Iterator[None]:
    """The registry's pages, for as long as the context lasts."""
    server = folder / "mlflow" / "server.yaml"
    server.parent.mkdir(exist_ok=True)
    server.write_text(dump_yaml({"port": PORT}), encoding="utf-8")
    with subprocess.Popen([*WHC, "ui"], cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            if not any("http://" in line for line in process.stderr or ()):
                raise click.ClickException("the registry's pages do not open; see the lines above")
            yield
        finally:
            process.terminate()


class _Pages(BaseHTTPRequestHandler):
    """Hands on MLflow's pages, with a script that closes the windows which greet a new visitor."""

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""

    def do_GET(self) -> None:
        """Ask MLflow the same."""
        length = int(self.headers.get("Content-Length") or 0)
        upstream = HTTPConnection("127.0.0.1", PORT, timeout=60)
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        upstream.request(self.command, self.path, self.rfile.read(length) if length else None, headers)
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        kind = answer.headers.get("Content-Type", "application/octet-stream")
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body + CLOSE if kind.startswith("text/html") else body)

    do_POST = do_GET  # noqa: N815


@contextmanager
def without_greetings() -> Iterator[str]:
    """The same pages for a visitor who has closed what greets him; gives their address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def photograph(address: str, path: Path) -> None:
    """A picture of the models' page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise click.ClickException(f"needs one of {', '.join(BROWSERS)}: apt-get install chromium")
    command = [browser, "--headless", "--hide-scrollbars", f"--window-size={WINDOW[0]},{WINDOW[1]}", "--disable-gpu"]
    command += ["--no-sandbox", "--no-proxy-server", f"--virtual-time-budget={LOADING_MS}", f"--screenshot={path}"]
    subprocess.run([*command, f"{address}/#/models"], check=True, stderr=subprocess.DEVNULL, timeout=300)


def real_data() -> Path | None:
    """The photos of faces, where they are."""
    path = Path(os.environ.get("WHC_SHARED", ROOT.parent / "shared")) / "data" / "smile" / "dataset.parquet"
    return path.resolve() if path.is_file() else None


def write(work: Path, pictures: Path, readme: Path, tiny: str) -> None:
    """Take the pictures and rewrite README from what lies in the work folder."""
    shutil.copyfile(work / "runs" / "smile-1" / "front.png", pictures / "front.png")
    with ui(work), without_greetings() as address:
        photograph(address, pictures / "registry.png")
    text = readme.read_text(encoding="utf-8")
    text = replaced(text, "tiny", f"```\n{tiny.strip()}\n```")
    text = replaced(text, "smile", shown(work / "runs" / "smile-1"))
    readme.write_text(text, encoding="utf-8")


@click.command()
@click.option("--small", is_flag=True, help="A few trials each, to try this; the repository stays as it is.")
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / "runs" / "pictures", help="Made anew.")
def main(small: bool, work: Path) -> None:
    """Remake README's pictures and ladders."""
    real = real_data()
    if not (small or real):
        raise click.ClickException("needs the photos of faces: set WHC_SHARED, or try it with --small")
    work = work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rendered = work / "synth" / "dataset.parquet"
    whc(work, "data", "synth", "--out", rendered.parent, *(["--clips", 40] if small else []))
    tiny = ladder(work, "tiny", rendered, 4 if small else None)
    ladder(work, "smile", rendered if small else real or rendered, 4 if small else None)
    pictures, readme = (work, work / "README.md") if small else (ROOT / ".github" / "pictures", ROOT / "README.md")
    if small:
        shutil.copyfile(ROOT / "README.md", readme)
    write(work, pictures, readme, ladder_alone(tiny))
    click.echo(json.dumps({"readme": str(readme), "pictures": str(pictures)}))


def ladder_alone(printed: str) -> str:
    """What `build-table` printed, without the lines about files and the registry."""
    lines: Sequence[str] = printed.splitlines()
    last = next(i for i, line in enumerate(lines) if " scores F1 " in line)
    return "\n".join(line.rstrip() for line in lines[: last + 1])


if __name__ == "__main__":
    main()
