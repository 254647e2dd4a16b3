"""`include:` in a search file: other files as the base that its own keys are laid over.

Sections (`limits`, `space`, and in it `model`, `training`, `augmentation`) are merged key by key; any
other value, be it a list, a range or a choice with its parameters, takes the place of the included one as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from whc.config import load_yaml, shipped
from whc.errors import UsageError, problem
from whc.paths import is_file
from whc.search.space.space import section_model
from whc.trials.augmentation_file import filled_in
from whc.trials.config import TrialConfig

MAX_DEPTH = 20  # of files that include each other


@dataclass(frozen=True)
class MergedFile:
    """A search file with all that it includes; `writers` holds the file that wrote each dotted key."""

    path: Path
    content: dict[str, Any]
    writers: Mapping[str, Path]

    def placed(self, problems: str) -> str:
        """Problems that begin with this file's name and a key, each under the name of the file that wrote the key."""
        lines = []
        for line in problems.splitlines():
            message = line.removeprefix(f"{self.path}: ")
            key = message.split(":")[0]
            while key and key not in self.writers:
                key = key.rpartition(".")[0]
            lines.append(f"{self.writers.get(key, self.path)}: {message}")
        return "\n".join(lines)


def load(path: Path, owner: type[BaseModel]) -> MergedFile:
    """Read a search file and everything that it includes.

    Args:
        path: the file.
        owner: what declares its keys.

    Raises:
        UsageError: a file is missing or is not YAML, or the includes lead too deep or back to where they began.
    """
    return _load(path, owner, (), {})


def _load(path: Path, owner: type[BaseModel], above: tuple[Path, ...], read: dict[Path, MergedFile]) -> MergedFile:
    """As `load`; `above` are the files that include this one, `read` those that need not be read a second time."""
    own = load_yaml(path)
    if isinstance(own.get("space"), dict):
        own["space"] = filled_in(own["space"], path.parent, f"{path}: space")
    content: dict[str, Any] = {}
    writers: dict[str, Path] = {}
    for included in _included(own.pop("include", []), path, (*above, path)):
        base = read.get(included) or _load(included, owner, (*above, path), read)
        read[included] = base
        content, writers = _laid_over(content, base.content, owner), {**writers, **base.writers}
    return MergedFile(path, _laid_over(content, own, owner), {**writers, **dict.fromkeys(_keys(own), path)})


def _included(names: object, path: Path, chain: tuple[Path, ...]) -> Iterator[Path]:
    """The files that `path` includes."""
    where = f"{path}: include"
    if len(chain) > MAX_DEPTH:
        raise UsageError(f"{where}: must lead at most {MAX_DEPTH} files deep, got more; write fewer files")
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UsageError(problem(where, "must be a file or a list of files", names, "write `include: smile`"))
    for name in listed:
        beside = (path.parent / name, path.parent / f"{name}.yaml")
        try:
            included = next((candidate for candidate in beside if is_file(candidate)), None) or shipped(
                "search_spaces", name
            )
        except UsageError as error:
            raise UsageError(f"{where}: {error}, or a path from {path.parent}") from error
        if included.resolve() in {candidate.resolve() for candidate in chain}:
            circle = " -> ".join(map(str, (*chain, included)))
            raise UsageError(f"{where}: must not lead back to a file above it, got {circle}; leave one out")
        yield included


def _laid_over(base: dict[str, Any], own: dict[str, Any], owner: type[BaseModel] | None) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        inner = TrialConfig if key == "space" else section_model(owner, key)
        both = inner and isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _laid_over(base[key], value, inner) if both else value
    return merged


def _keys(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a mapping and of those inside it."""
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
