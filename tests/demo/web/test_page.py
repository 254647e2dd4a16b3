"""The page of the demo in a real browser: from disk, and from its server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from whc.demo.web.assemble import PageDetector, PageModel, assemble
from whc.records import Metric

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any, TypeAlias

    Tab: TypeAlias = Any  # of conftest.py

pytestmark = pytest.mark.usefixtures("_runtime")

F1 = Metric(key="f1", name="F1")
READING = "document.getElementById('readings').innerText"
NOTICE = "document.getElementById('notice').textContent"


@pytest.fixture
def page(tmp_path: Path, brightness_model: Callable[..., Path]) -> Path:
    """A page on disk with a ladder of two variants, of which the second one always says `bright`."""
    medium = brightness_model().rename(tmp_path / "whc_m.onnx")
    large = brightness_model(task_config={"threshold": 0.01})
    models = [PageModel("whc_m", medium, 0.81), PageModel("whc_l", large, 0.92)]
    (tmp_path / "page.html").write_text(assemble(models, "whc_m", F1).whole(), "utf-8")
    return tmp_path / "page.html"


def start(tab: Tab, address: str) -> None:
    tab.events.clear()
    tab.open(address)
    tab.wait(f"document.getElementById('model-ms').textContent.endsWith('ms') || {NOTICE}")


def click(tab: Tab, name: str) -> None:
    tab.value(f"document.getElementById({name!r}).click()")


def choose_file(tab: Tab, path: Path) -> None:
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


def test_a_page_on_disk_shows_what_every_variant_says(tab: Tab, page: Path) -> None:
    start(tab, page.as_uri())
    click(tab, "camera")
    tab.wait(f"{READING}.includes('bright 0.9')")
    rows = tab.value("[...document.querySelectorAll('#variants tr')].map((row) => row.innerText)")
    assert [row.split()[:2] for row in rows] == [["whc_m", "0.810"], ["whc_l", "0.920"]]
    tab.wait("document.querySelectorAll('#variants .says span')[1].textContent === 'bright'")
    tab.wait("document.querySelector('#plot svg')?.getAttribute('aria-label').includes('whc_l')")
    tab.wait("document.getElementById('frame-rate').textContent.endsWith(' fps')")
    assert "160 x 120" in tab.value("document.getElementById('source-name').textContent")
    tab.wait("document.getElementById('spoken').textContent === 'bright'")
    assert tab.complaints() == []
    asked = [
        event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_the_variant_is_chosen_by_keyboard(tab: Tab, page: Path) -> None:
    start(tab, page.as_uri())
    tab.value("document.querySelector('input[name=variant]:checked').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="ArrowDown", code="ArrowDown", windowsVirtualKeyCode=40)
    assert tab.value("document.getElementById('chosen-name').textContent") == "whc_l"
    tab.wait(f"{READING}.startsWith('bright')")
    click(tab, "together")
    tab.wait("document.body.classList.contains('apart')")
    tab.wait(f"{READING}.startsWith('bright')")


def test_pictures_and_what_is_none(tab: Tab, page: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dark.png"), np.full((30, 40, 3), 25, np.uint8))
    (tmp_path / "empty.png").touch()
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "broken.webm").write_bytes(b"no video")
    start(tab, page.as_uri())
    choose_file(tab, tmp_path / "dark.png")
    tab.wait(f"{READING}.startsWith('dark') && {READING}.includes('bright 0.10')")
    assert "dark.png, 40 x 30" in tab.value("document.getElementById('source-name').textContent")
    for name, words in (
        ("empty.png", "empty.png is empty"),
        ("broken.jpg", "broken.jpg is no picture that this browser can read"),
        ("broken.webm", "broken.webm cannot be played by this browser"),
    ):
        choose_file(tab, tmp_path / name)
        tab.wait(f"{NOTICE}.includes({words!r})")
    tab.wait(f"{READING}.startsWith('dark')")  # what was there before goes on


def test_a_video_goes_on_from_its_start(tab: Tab, page: Path, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.webm"), cv2.VideoWriter.fourcc(*"VP80"), 20, (64, 48))
    for level in [20] * 10 + [240] * 10:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    start(tab, page.as_uri())
    choose_file(tab, tmp_path / "clip.webm")
    for title in ("dark", "bright", "dark", "bright"):
        tab.wait(f"{READING}.startsWith({title!r})")
    click(tab, "pause")
    assert tab.value("document.getElementById('pause').textContent") == "Go on"


def test_windows_of_the_rendered_clip(tab: Tab, tmp_path: Path, change_model: Callable[..., Path]) -> None:
    (tmp_path / "page.html").write_text(assemble([PageModel("change", change_model())], "change").whole(), "utf-8")
    start(tab, (tmp_path / "page.html").as_uri())
    tab.wait(f"{READING}.includes('moved')")
    assert tab.value("document.getElementById('ladder').hidden")
    assert tab.complaints() == []


def test_a_detector(
    tab: Tab, tmp_path: Path, brightness_model: Callable[..., Path], box_model: Callable[..., Path]
) -> None:
    boxes = [[0.9, 0, 0.3, 0.5, 0.3, 0.5], [0.8, 0, 0.7, 0.5, 0.3, 0.5]]
    models = [PageModel("whc_m", brightness_model()), PageModel("whc_l", brightness_model())]
    made = assemble(models, "whc_m", detector=PageDetector(str(box_model(boxes)), "person"))
    (tmp_path / "page.html").write_text(made.whole(), "utf-8")
    start(tab, (tmp_path / "page.html").as_uri())
    click(tab, "camera")
    tab.wait(f"{READING}.includes('#1 bright') && {READING}.includes('#2 bright')")
    assert not tab.value("document.getElementById('detector-speed').hidden")
    assert tab.value("document.querySelector('.says span').textContent") == "#1 bright +1"
    assert tab.complaints() == []


def test_a_camera_that_vanishes(tab: Tab, page: Path) -> None:
    start(tab, page.as_uri())
    tab.value(
        "{ const devices = navigator.mediaDevices, ask = devices.getUserMedia.bind(devices);"
        " devices.getUserMedia = async (wish) => (window.cameraStream = await ask(wish)); }"
    )
    click(tab, "camera")
    tab.wait(f"window.cameraStream && {READING}.includes('bright 0.9')")
    tab.value("window.cameraStream.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    tab.wait(f"{NOTICE}.includes('The camera has gone')")
    click(tab, "camera")
    tab.wait(f"!{NOTICE}")


def test_a_browser_without_simd_is_told(tab: Tab, page: Path) -> None:
    source = "WebAssembly.validate = () => false"
    script = tab.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    try:
        start(tab, page.as_uri())
        assert "lacks WebAssembly SIMD" in tab.value(NOTICE)
    finally:
        tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_it_fits_a_phone_and_names_its_controls(tab: Tab, page: Path) -> None:
    start(tab, page.as_uri())
    for width in (400, 1400):
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
        assert tab.value("document.documentElement.scrollWidth") <= width
    tab.call("Emulation.clearDeviceMetricsOverride")
    controls = [
        node["name"]["value"]
        for node in tab.call("Accessibility.getFullAXTree")["nodes"]
        if node.get("role", {}).get("value") in ("button", "radio", "checkbox")
    ]
    assert {"Camera", "Rendered clip", "Pause", "whc_m", "whc_l", "Run all of them on each frame"} <= set(controls)
    assert all(controls)


def test_no_camera(page: Path, tmp_path: Path, start_browser: Callable[..., AbstractContextManager[Tab]]) -> None:
    with start_browser(tmp_path / "profile") as tab:
        start(tab, page.as_uri())
        click(tab, "camera")
        tab.wait(f"{NOTICE}.toLowerCase().includes('camera')")
        tab.wait(f"{READING}.includes('dark') || {READING}.includes('bright')")  # the clip goes on


def test_the_command(tab: Tab, brightness_model: Callable[..., Path]) -> None:
    command = [sys.executable, "-c", "from whc.cli import main; main()", "demo", "--web", "--headless", "--json"]
    command += ["--model", str(brightness_model())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        address = json.loads("".join(process.stdout.readline() for _ in range(3)))["address"]
        start(tab, address)
        assert tab.value("crossOriginIsolated")  # for fine clocks
        click(tab, "camera")
        tab.wait(f"{READING}.includes('bright 0.9')")
        assert tab.complaints() == []
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
