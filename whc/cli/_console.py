"""The console of all commands: it shows text exactly as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from whc.cli._options import printable


class PlainConsole(Console):
    """A console that treats `[/x]`, `:smile:` and escape sequences in a label or a path as plain characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """As rich does, but after control codes are replaced, so that the width is right."""
        return super().render_str(printable(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does, but with control codes in the text replaced; rich's own codes are separate from the text."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)
