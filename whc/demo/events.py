"""States and events of a stream: what the smoothed decisions say of each person, and when that changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whc.demo.viewing import Sighting, Status
from whc.tasks.answers import Answers
from whc.tasks.smoothing import NO_SMOOTHING, Smoothing, State, Votes

if TYPE_CHECKING:
    from whc.demo.outputs import Result

WHOLE_PICTURE = 0  # in place of a person's identity


class EventOptions(NamedTuple):
    """What a run does with states and events.

    `is_smoothed`: states follow the law of `whc.tasks.smoothing`, else they are the answers themselves. `jsonl` is a
    file to write (`whc.demo.jsonl`), `print_line` is called with each event in words.
    """

    is_smoothed: bool = True
    jsonl: Path | None = None
    print_line: Callable[[str], None] | None = None


SMOOTHED = EventOptions()


class PersonEvents(NamedTuple):
    """What begins and ends for a person in a frame (WHOLE_PICTURE without a detector)."""

    identity: int
    events: tuple[str, ...]


class States:
    """The states of all people of one stream, or of the region that the model sees.

    Args:
        answers: those of the model.
        is_smoothed: whether states follow the law of `whc.tasks.smoothing`; if not, they are the answers themselves.
        memory_s: seconds after which a person who is not seen is gone, which ends his state.
    """

    def __init__(self, answers: Answers, is_smoothed: bool = True, memory_s: float = math.inf) -> None:
        self._is_smoothed, self._memory_s = is_smoothed, memory_s
        self._people: dict[int, _Person] = {}
        self.take(answers)

    def take(self, answers: Answers) -> None:
        """Go on with the answers of another model, of the same labels; states stay until they change."""
        self._answers = answers
        self._smoothing = answers.smoothing if self._is_smoothed else NO_SMOOTHING
        for person in self._people.values():
            person.take(self._smoothing)

    def follow(self, sightings: Sequence[Sighting], seconds: float) -> tuple[list[Sighting], list[PersonEvents]]:
        """The sightings of the next frame, at its time, with a status each, and who has gone."""
        followed = [sighting._replace(status=self._status(sighting, seconds)) for sighting in sightings]
        lost = [who for who, person in self._people.items() if seconds - person.seen > self._memory_s]
        gone = [PersonEvents(who, self._events(self._people.pop(who).state, ())) for who in lost]
        return followed, [each for each in gone if each.events]

    def _status(self, sighting: Sighting, seconds: float) -> Status:
        who = sighting.found.identity if sighting.found else WHOLE_PICTURE
        person = self._people.setdefault(who, _Person(self._smoothing))
        person.seen, before = seconds, person.state
        if sighting.is_fresh and sighting.verdict:
            person.add(self._answers.votes(sighting.verdict.output, self._smoothing.hysteresis, person.votes), seconds)
        name = self._answers.state_name(person.state) if person.state else ""
        return Status(person.state, name, self._events(before, person.state))

    def _events(self, before: Votes, now: Votes) -> tuple[str, ...]:
        """What has ended and what has started between two states (() for none)."""
        earlier, later = (self._answers.ongoing(state) if state else () for state in (before, now))
        ended = [f"{label} ended" for label in earlier if label not in later]
        return (*ended, *(f"{label} started" for label in later if label not in earlier))


class _Person:
    """When a person was last seen, the latest votes, and the state; both are () before the first."""

    def __init__(self, smoothing: Smoothing) -> None:
        self.seen = 0.0
        self.votes: Votes = ()
        self.state: Votes = ()
        self._smoothing = smoothing
        self._states: list[State] = []

    def take(self, smoothing: Smoothing) -> None:
        self._smoothing = smoothing
        for state in self._states:
            state.smoothing = smoothing

    def add(self, votes: Votes, seconds: float) -> None:
        self._states = self._states or [State(self._smoothing) for _ in votes]
        for state, vote in zip(self._states, votes, strict=True):
            state.vote(vote, seconds)
        options = [state.option for state in self._states if state.option is not None]
        self.votes, self.state = votes, tuple(options) if len(options) == len(votes) else ()


def events_of(result: Result) -> list[PersonEvents]:
    """The events of a frame, person by person."""
    of_sightings = [
        PersonEvents(sighting.found.identity if sighting.found else WHOLE_PICTURE, sighting.status.events)
        for sighting in result.sightings
        if sighting.status
    ]
    return [*of_sightings, *result.gone]


def printer(print_line: Callable[[str], None]) -> Callable[[Result], bool]:
    """Prints each event with its time and its person, as it comes; a reader who has gone (`| head`) ends the run."""

    def write(result: Result) -> bool:
        for identity, events in events_of(result):
            who = f"#{identity} " if identity else ""
            for event in events:
                try:
                    print_line(f"{result.seconds:.2f} s: {who}{event}")
                except BrokenPipeError:
                    return False  # so that the files are finished
        return True

    return write
