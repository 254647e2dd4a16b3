"""Rules link the parameters of a space: `model.depth <= 3 where model.image_size <= 16`.

A rule is a clause that must hold, always or `where` others do (joined by `and`). A clause compares a dotted key with a
value or with another key by `<=` or `>=` (numbers; of a size such as 48x30 the smaller side) or `is` or `is not`
(anything; a choice by its name). A clause about what was not chosen neither holds nor fails.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from whc.errors import problem, shown
from whc.plugins import ALIASES

KEY_PATTERN = r"[a-z]\w*(?:\.\w+)+"
CLAUSE_PATTERN = rf"{KEY_PATTERN} *(?:<=|>=| is not | is ) *[\w.+-]+"
RULE_PATTERN = rf"{CLAUSE_PATTERN}(?: where {CLAUSE_PATTERN}(?: and {CLAUSE_PATTERN})*)?"
RULE_EXAMPLE = "write `model.depth <= 3 where model.image_size <= 16`"

_CLAUSE_PARTS = re.compile(rf"({KEY_PATTERN}) *(<=|>=| is not | is ) *([\w.+-]+)")
_COMPARISONS = {"<=": operator.le, ">=": operator.ge, "is": operator.eq, "is not": operator.ne}
_BOUND_SIGNS = ("<=", ">=")


@dataclass(frozen=True)
class Clause:
    """One comparison: of `key` with `value`, or with what `other` is where that is a key."""

    key: str
    comparison: str
    value: float | str
    other: str

    def holds(self, config: Mapping[str, Any]) -> bool | None:
        """Whether a configuration keeps it; None where the configuration lacks a key."""
        left, right = _look(config, self.key), _look(config, self.other) if self.other else self.value
        return None if left is None or right is None else self._compare(left, right)

    def can_hold(self, possible: Mapping[str, Sequence[Any]]) -> bool:
        """Whether any of the values that its keys can have would keep it."""
        left, right = possible[self.key], possible.get(self.other, [self.value])
        if self.comparison in _BOUND_SIGNS:
            low, high = (left, right) if self.comparison == "<=" else (right, left)
            return bool(min(map(_measure, _ends(low))) <= max(map(_measure, _ends(high))))
        if self.comparison == "is":
            few, many = sorted((left, right), key=len)
            return any(_is_among(_canonical(value), many) for value in few)
        return any(self._compare(_canonical(a), _canonical(b)) for a in left for b in right)

    def _compare(self, left: Any, right: Any) -> bool:
        if self.comparison in _BOUND_SIGNS:
            left, right = _measure(left), _measure(right)
        return bool(_COMPARISONS[self.comparison](left, right))


@dataclass(frozen=True)
class Rule:
    """A clause that must hold where all those of `where` do; `text` is the rule as written."""

    text: str
    clause: Clause
    where: tuple[Clause, ...]

    def broken(self, config: Mapping[str, Any]) -> bool:
        """Whether a configuration breaks it."""
        return all(clause.holds(config) for clause in self.where) and self.clause.holds(config) is False

    @property
    def names(self) -> Iterator[tuple[str, float | str]]:
        """The keys that are compared with a name or an exact value, and that value."""
        for clause in (self.clause, *self.where):
            if not clause.other and clause.comparison not in _BOUND_SIGNS:
                yield clause.key, clause.value


def parse(written: object, possible: Mapping[str, Sequence[Any]], where: str, problems: list[str]) -> tuple[Rule, ...]:
    """Read the rules of a space.

    Args:
        written: the list as YAML gives it.
        possible: what each key of the space can be; of a range of floats both ends.
        where: file and key for messages.
        problems: gets a line for each mistake; a rule with a mistake is left out.
    """
    if not isinstance(written, list):
        problems.append(problem(where, "must be a list of rules", written, RULE_EXAMPLE))
        return ()
    parsed = []
    for text in written:
        try:
            parsed.append(_rule(text, possible))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    circle = _circle(parsed)
    if circle:
        problems.append(f"{where}: must not bound parameters in a circle, got {' <= '.join(circle)}; remove a rule")
    return tuple(parsed)


def _rule(text: object, possible: Mapping[str, Sequence[Any]]) -> Rule:
    if not isinstance(text, str) or not re.fullmatch(RULE_PATTERN, text):
        raise _mistake("a rule must compare a key with a value", text, RULE_EXAMPLE)
    clauses = [Clause(*_clause(match)) for match in _CLAUSE_PARTS.finditer(text)]
    for clause in clauses:
        _check(clause, text, possible)
    rule = Rule(text, clauses[0], tuple(clauses[1:]))
    if not rule.clause.can_hold(possible):
        raise _mistake("a rule must be one that can hold", text, f"{rule.clause.key} is never that; change either")
    return rule


def _clause(match: re.Match[str]) -> tuple[str, str, float | str, str]:
    key, comparison, value = match[1], match[2].strip(), match[3]
    if re.fullmatch(KEY_PATTERN, value):
        return key, comparison, "", value
    for number in (int, float):
        try:
            return key, comparison, number(value), ""
        except ValueError:
            continue
    return key, comparison, ALIASES.get(value, value), ""


def _check(clause: Clause, text: str, possible: Mapping[str, Sequence[Any]]) -> None:
    for key in filter(None, (clause.key, clause.other)):
        if key not in possible:
            near = get_close_matches(key, possible, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(possible)}"
            raise _mistake(f"{key!r} must be a key of the space", text, hint)
    if clause.comparison not in _BOUND_SIGNS:
        return
    right = possible.get(clause.other, [clause.value])
    for side, values in {clause.key: possible[clause.key], clause.other or str(clause.value): right}.items():
        if any(_measure(value) is None for value in _ends(values)):
            raise _mistake(f"{side!r} must be a number to be bounded", text, "compare it with `is`")


def _mistake(rule: str, text: object, next_step: str) -> ValueError:
    return ValueError(f"{rule}, got {shown(text)}; {next_step}")


def _circle(rules: Sequence[Rule]) -> list[str]:
    """Keys of which each must be at most the next, the first again at the end; nothing if there are none."""
    lower: dict[str, set[str]] = {}
    for clause in (rule.clause for rule in rules if not rule.where):
        if clause.other and clause.comparison in _BOUND_SIGNS:
            low, high = (clause.key, clause.other) if clause.comparison == "<=" else (clause.other, clause.key)
            lower.setdefault(high, set()).add(low)
    try:
        TopologicalSorter(lower).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _look(config: Mapping[str, Any], key: str) -> Any:
    """What a configuration says under a dotted key, a choice by its name; None where it says nothing."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return _canonical(next(iter(value)) if isinstance(value, Mapping) else value)


def _ends(values: Sequence[Any]) -> Sequence[Any]:
    """What bounds the values: of a range, which may hold billions, its ends."""
    return (values[0], values[-1]) if isinstance(values, range) else values


def _is_among(value: Any, values: Sequence[Any]) -> bool:
    if isinstance(values, range):  # which looks a whole number up, but would go through all of its own for others
        return isinstance(value, int | float) and float(value).is_integer() and int(value) in values
    return value in map(_canonical, values)


def _canonical(value: Any) -> Any:
    return ALIASES.get(value, value) if isinstance(value, str) else value


def _measure(value: Any) -> Any:
    """A number as it is, of a size the smaller side; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\d+x\d+", value):
        return min(map(int, value.split("x")))
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
