"""report.html in a real browser: figures, a click, sorting, a narrow window, no shift of layout, no foreign script."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from whc.records import StudyRecord, TrialRecord
from whc.search.showing import report

WIDTHS = (400, 1400)
FOREIGN = "<img src=x onerror='window.hacked = 1'></script><script>window.hacked = 1</script>"
# An outer page shows the report in a frame of a width, as a window cannot be narrow, and writes down what it sees.
PROBE = """<!doctype html><body style="margin: 0"><pre id="seen"></pre><script>
const frame = document.createElement("iframe");
frame.style = "width: %dpx; height: 12000px; border: 0";
frame.onload = async () => {
  const page = frame.contentDocument, root = page.documentElement, seen = { errors: [], shift: 0 };
  frame.contentWindow.addEventListener("error", (event) => seen.errors.push(event.message));
  new frame.contentWindow.PerformanceObserver((list) => list.getEntries().forEach((e) => { seen.shift += e.value; }))
    .observe({ type: "layout-shift", buffered: true });
  const places = page.querySelectorAll(".figure");
  for (let i = 0; i < 600 && page.querySelectorAll(".figure .main-svg").length < places.length; i++)
    await new Promise((resolve) => setTimeout(resolve, 100));
  seen.figures = places.length;
  seen.drawn = [...places].filter((place) => place.querySelector(".main-svg")).length;
  seen.overflow = root.scrollWidth - root.clientWidth;
  seen.first = page.getElementById("curve-words").textContent;
  const row = page.querySelector("tr[data-trial='00004']");
  row.click();
  seen.clicked = page.getElementById("curve-words").textContent;
  seen.curve = Boolean(page.querySelector("#curve .main-svg"));
  const title = [...page.querySelectorAll("th button")].find((button) => button.textContent === "ms");
  const column = title.closest("th").cellIndex, body = title.closest("table").tBodies[0];
  const numbers = () => [...body.rows].filter((r) => !r.hidden).map((r) => r.cells[column].textContent);
  title.click(); seen.rising = numbers();
  title.click(); seen.falling = numbers();
  const field = page.querySelector(".filter input");
  field.value = "stopped"; field.dispatchEvent(new Event("input")); seen.kept = numbers().length;
  seen.hacked = frame.contentWindow.hacked || 0;
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
frame.src = "report.html";
document.body.append(frame);
</script></body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs Chromium")
    return found


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the files of tmp_path are served, on this machine alone."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def look(browser: str, address: str, tmp_path: Path) -> Callable[[int], dict[str, Any]]:
    """What is seen of the report in a window of a width."""

    def seen(width: int) -> dict[str, Any]:
        (tmp_path / "probe.html").write_text(PROBE % width, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--no-proxy-server", "--window-size=1500,13000", "--virtual-time-budget=70000", "--dump-dom"]
        done = subprocess.run(
            [*command, f"{address}/probe.html"], capture_output=True, text=True, timeout=300, check=True
        )
        (text,) = re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
        result: dict[str, Any] = json.loads(unescape(text))
        return result

    return seen


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_is_usable(
    width: int,
    study: StudyRecord,
    record: Callable[..., TrialRecord],
    look: Callable[[int], dict[str, Any]],
    tmp_path: Path,
) -> None:
    curve = [{"epoch": i + 1, "val_score": 0.5 + i / 50, "seconds": 1.0} for i in range(9)]
    trials = []
    for i in range(24):
        state = "stopped" if i % 6 == 5 else "finished"
        drawn = {
            "model.width": (4, 8, 16)[i % 3],
            "model.head": FOREIGN if i % 2 else "avg",
            "training.lr": 0.01 + i / 900,
        }
        one = record(f"{i:05d}", state, drawn=drawn, latency_ms=0.05 + i / 100, val_score=0.5 + (i * 7 % 24) / 60)
        trials.append(
            TrialRecord.model_validate(one.model_dump(by_alias=True) | {"curve": curve, "elapsed_s": 60.0 + i})
        )
    report.write(study.model_copy(update={"data": [FOREIGN]}), trials, tmp_path)
    seen = look(width)
    assert (seen["drawn"], seen["figures"]) == (6, 6)
    assert seen["errors"] == []
    assert seen["hacked"] == 0
    assert seen["overflow"] <= 0
    assert seen["shift"] < 0.01
    assert seen["first"].startswith("trial ")
    assert seen["clicked"].startswith("trial 00004, finished")
    assert seen["curve"]
    assert seen["rising"] == sorted(seen["rising"], key=float)
    assert seen["falling"] == seen["rising"][::-1]
    assert seen["kept"] == 4
