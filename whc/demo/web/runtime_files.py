"""The files of onnxruntime-web, which runs models in a browser: `make web` packs them with npm.

They are not part of the source, and lie in a folder of the package that git ignores and the wheel includes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from whc.errors import UsageError, WhcError, problem
from whc.records import replacing

VERSION = "1.30.0"
RUNTIME_FOLDER = Path(__file__).with_name("runtime")
MAKE_COMMAND = "make web"
SHA512 = {
    "ort.wasm.min.mjs": (
        "02779f420972927b9fe109e8c8bf0715be78b3582b5b1eeae85eafd94651afb4"
        "7155bb0979777f93ab228978f59a59109a9c871270c8049cf1d41b5adc9dd90a"
    ),
    "ort-wasm-simd-threaded.mjs": (
        "21ba108743f06fed82bd495a1258e50552c95a515f1940b10aab94ea48f2c205"
        "beaa3f7e0d9b4961253da6e786638038bd3d96e6b43c66de0234d2032fc29fd6"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "1adeded62203219fcf5c484cfce5657aa5875689b490423f86cf1ca1dd1cad77"
        "15f630c6337f41db71ee42794e3a00ce0b7c78939a71220b5d83368bf6ea7730"
    ),
}
"""The files of the plain WebAssembly build, by name."""


def runtime_files(folder: Path = RUNTIME_FOLDER) -> dict[str, Path]:
    """The files by name, each one what this version of whc was tested with.

    Raises:
        UsageError: one is missing or damaged.
    """
    paths = {name: folder / name for name in SHA512}
    for name, path in paths.items():
        if not path.is_file():
            raise UsageError(f"{path}: must be a file of onnxruntime-web, got nothing there; run `{MAKE_COMMAND}`")
        _check(path.read_bytes(), name, str(path), f"run `{MAKE_COMMAND}`")
    return paths


def pack(folder: Path = RUNTIME_FOLDER) -> None:
    """Put the files into a folder, unless they are there; npm fetches them.

    Raises:
        UsageError: npm is missing or fails, or its package holds other files.
    """
    try:
        runtime_files(folder)
    except UsageError:
        _pack(folder)


def _pack(folder: Path) -> None:
    npm, package = shutil.which("npm"), f"onnxruntime-web@{VERSION}"
    if npm is None:
        raise UsageError("npm: must be on the PATH, got none; install Node.js, which brings it")
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", "--silent", package]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            reason = (done.stderr.strip() or done.stdout.strip() or "no archive").splitlines()[-1]
            raise UsageError(problem(f"npm pack {package}", "must succeed", reason, "check the network, and repeat it"))
        contents = _contents(archives[0])
    for name, content in contents.items():
        _check(content, name, f"{package}: {name}", "the package has changed: do not use it")
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        with replacing(folder / name) as path:
            path.write_bytes(content)


def _contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as packed:
        members = {name: packed.extractfile(f"package/dist/{name}") for name in SHA512}
        return {name: member.read() if member else b"" for name, member in members.items()}


def _check(content: bytes, name: str, where: str, next_step: str) -> None:
    digest = hashlib.sha512(content).hexdigest()
    if digest != SHA512[name]:
        rule = f"must be that of onnxruntime-web {VERSION}, with SHA-512 {SHA512[name][:12]}..."
        raise UsageError(problem(where, rule, f"{digest[:12]}...", next_step))


if __name__ == "__main__":
    try:
        pack()
    except WhcError as error:
        sys.exit(f"error: {error}")
