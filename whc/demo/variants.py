"""The variants of a ladder, of which one runs; a key in the window changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from whc.demo.model import LoadedModel
from whc.demo.outputs import Result

Siblings = Callable[[], Sequence[tuple[str, Path]]]
"""Lists the variants of a ladder, fastest first: names and files."""


class Variants:
    """The model that runs, and the others of its ladder."""

    def __init__(self, model: LoadedModel, load: Callable[[Path], LoadedModel], siblings: Siblings | None) -> None:
        """`siblings` is asked at the first change; None: the model has none."""
        self._model, self._load, self._siblings = model, load, siblings
        self._next: LoadedModel | None = None
        self._ladder: Sequence[tuple[str, Path]] | None = None
        self.frames: dict[str, int] = {}  # how many frames each file has seen

    def change(self) -> str:
        """Let the next variant see the next frame; its name, or why there is none.

        Raises:
            WhcError: the next variant cannot be used.
        """
        if self._siblings is None:
            return "no other variant: --model is a file; give a registered name to change variants"
        if self._ladder is None:
            self._ladder = self._siblings()
        paths = [path for _, path in self._ladder]
        here = paths.index(self._model.path) if self._model.path in paths else -1
        name, path = self._ladder[(here + 1) % len(paths)] if paths else ("", self._model.path)
        if path == self._model.path:
            return "no other variant: the ladder has only this one"
        model = self._load(path)
        if (model.metadata.task, model.metadata.labels) != (self._model.metadata.task, self._model.metadata.labels):
            return f"{name} predicts something else, and was not taken"
        self._next = model
        return f"variant: {name}"

    def results(self, begin: Callable[[LoadedModel], Iterator[Result]]) -> Iterator[Result]:
        """The results of a stream; `begin` starts a model on what is left of it."""
        number = 0
        while True:
            for result in begin(self._model):
                name = self._model.path.name
                self.frames[name] = self.frames.get(name, 0) + 1
                yield result._replace(number=number)
                number += 1
                if self._next:
                    break
            else:
                return
            self._model, self._next = self._next, None
