"""A bundle: a model's file with a program that runs it anywhere, without whc.

    run.py              the program: python run.py --help
    requirements.txt    what it needs
    model.onnx          the model, or model.tflite
    bundle.json         what the model takes and gives, and the hash of its file
    sample/             a rendered picture, or as many as one input of the model has
    whc_runner/         the modules of whc that the program imports
    run.html            where it is asked for: a page that runs the model in a browser

The modules are copied as they are, but for their imports, which become relative: a process may so load several bundles
beside whc.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import cv2

from whc import plugins, tasks
from whc.data import synthetic
from whc.data.preprocess import Image
from whc.errors import ArtifactError, UsageError, problem
from whc.records import code_version, replacing, sha256
from whc.runtimes import choose_for, suffix_of

PACKAGE = "whc_runner"
ZIP_SUFFIX = ".zip"
_ROOT = Path(__file__).parents[1]
_PROGRAM_MODULES = ("whc.demo.bundled", "whc.demo.serving")
# What runs a file, by its suffix: a library, and a module of `whc.runtimes`.
_LIBRARIES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert"}
_SESSIONS = {".onnx": "onnxruntime_session", ".tflite": "litert_session"}
_IMPORT = re.compile(r"^(?P<indent> *)from whc\b\.?(?P<module>[.\w]*)", re.MULTILINE)
_PROGRAM = f'''"""Runs the model on a camera, a video or pictures: python run.py --help"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # absent with PYTHONSAFEPATH
try:
    from {PACKAGE}.demo.bundled import main

    if __name__ == "__main__":
        sys.exit(main(Path(__file__).resolve().parent, sys.argv[1:]))
except ImportError as error:
    sys.exit(f"{{error}}; run: pip install -r requirements.txt")
'''


def write(file: Path, target: Path, page: str | None = None) -> None:
    """Write the bundle of an exported file.

    Args:
        file: a file exported by whc.
        target: a new folder, or a file that ends in .zip, which is replaced.
        page: HTML of a page that runs the file.

    Raises:
        ArtifactError: whc did not export the file, or this version does not know its task.
        UsageError: the target exists, or cannot be written.
    """
    runtime = choose_for([file])
    session = plugins.load("runtimes", runtime.name).load(file, runtime.config)
    description = _description(file, session.metadata())
    try:
        with _replacing_folder(target) as folder:
            _fill(folder, file, description)
            if page:
                (folder / "run.html").write_text(page, "utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"{target}: must be a folder or .zip that can be written, got: {reason}; choose another"
        ) from error


def _description(file: Path, metadata: Any) -> dict[str, Any]:
    """What the program must know of a file, with all parameters of its task."""
    try:
        task = tasks.of_file(metadata)
    except ValueError as error:
        raise ArtifactError(f"{file}: whc.task: {error}; upgrade whc or export the model again") from error
    fields = metadata.model_dump(mode="json") | {"task_config": task.config.model_dump(mode="json")}
    return {
        "name": file.name,
        "model": f"model{suffix_of(file)}",
        "session": _SESSIONS[suffix_of(file)],
        "sha256": sha256(file),
        "columns": list(task.columns),
        "code_version": code_version(),
        "metadata": fields,
    }


@contextmanager
def _replacing_folder(target: Path) -> Iterator[Path]:
    """A folder that gets its name, or becomes a .zip, when it is complete."""
    if target.suffix.lower() == ZIP_SUFFIX:
        with replacing(target) as archive, tempfile.TemporaryDirectory(prefix="whc-bundle-") as scratch:
            folder = Path(scratch) / target.stem
            yield folder
            _pack(folder, archive)
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(problem("--bundle", "must be a new folder", str(target), "choose another, or remove it"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        folder = Path(scratch) / target.name
        yield folder
        folder.replace(target)


def _pack(folder: Path, archive: Path) -> None:
    """All files of a folder, below its name."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, file.relative_to(folder.parent))


def _fill(folder: Path, file: Path, description: dict[str, Any]) -> None:
    folder.mkdir()
    shutil.copyfile(file, folder / description["model"])
    (folder / "run.py").write_text(_PROGRAM, "utf-8")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements(file)), "utf-8")
    (folder / "bundle.json").write_text(json.dumps(description, ensure_ascii=False, indent=1) + "\n", "utf-8")
    (folder / "sample").mkdir()
    for number, picture in enumerate(sample(description["metadata"]["frames"])):
        png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        (folder / "sample" / f"{number:03}.png").write_bytes(png.tobytes())
    write_modules(folder / PACKAGE, description["metadata"]["task"], description["session"])


def requirements(file: Path) -> list[str]:
    """The libraries of a file's bundle, as whc itself or its extras require them."""
    libraries = {"numpy", "opencv-python", _LIBRARIES[suffix_of(file)]}
    lines = [line.partition(";")[0].strip() for line in requires("whc") or ()]
    return sorted({line for line in lines if re.split(r"[<>=!~ ]", line)[0] in libraries})


def sample(frames: int) -> Image:
    """Rendered pictures (T, H, W, 3) that fill one input; they show that a bundle runs, not how good its model is."""
    return synthetic.clip(0, "waving", frames)


def write_modules(folder: Path, task: str, session: str) -> None:
    """Copy the program with all modules that it imports, what the outputs of a task say, and what runs the file."""
    chosen_modules = (f"whc.tasks.{task}.answers", f"whc.runtimes.{session}")
    for module in sorted(_needed([*_PROGRAM_MODULES, *chosen_modules])):
        source = _file(module)
        place = source.relative_to(_ROOT)
        (folder / place.parent).mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(_with_relative_imports(source.read_text("utf-8"), len(place.parts)), "utf-8")
        for package in place.parents:
            # What a package itself holds comes along only where a module imports it.
            (folder / package / "__init__.py").touch()


def _with_relative_imports(source: str, depth: int) -> str:
    """`from whc.data.video` as `from ..data.video`, in a file with so many names below whc (2 for data/video.py)."""
    return _IMPORT.sub(lambda found: f"{found['indent']}from {'.' * depth}{found['module']}", source)


def _needed(modules: list[str]) -> set[str]:
    """The modules, and all those of whc that they import when they are loaded."""
    needed: set[str] = {"whc"}
    while modules:
        module = modules.pop()
        if module not in needed:
            needed.add(module)
            modules += _imports(ast.parse(_file(module).read_text("utf-8")))
    return needed


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "whc":
            for item in node.names:
                nested = f"{node.module}.{item.name}"
                yield nested if _exists(nested) else str(node.module)


def _exists(module: str) -> bool:
    return _file(module).is_file()


def _file(module: str) -> Path:
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
