"""What is told of a command line that cannot be read: all that is missing or unknown, and what could be meant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click

MAX_KEYS = 3  # configuration keys named for one unknown option
SPACE = "space."


def explanation(error: click.ClickException, arguments: Sequence[str], root: click.Group) -> str:
    """The lines to tell of an error, each with a next step.

    Args:
        error: what click raised at the first thing that is wrong.
        arguments: the whole command line, without the program's name.
        root: the program, called `whc`.
    """
    # Some of click's errors do not know where they arose.
    context = getattr(error, "ctx", None) or _context(root, arguments)
    see = f"see `{context.command_path} --help`"
    if isinstance(error, click.MissingParameter):
        return "\n".join(f"{name}: required, got nothing; {see}" for name in _missing(context))
    if isinstance(error, click.NoSuchOption):
        unknown = _unknown(context, arguments) or [(error.option_name, "VALUE")]
        return "\n".join(f"{name}: no such option; {_nearest(context, name, value) or see}" for name, value in unknown)
    command = getattr(error, "command_name", None)
    if command:
        near = _nearest_command(context, command)
        return f"{command}: no such command; " + (f"did you mean `{near}`?" if near else see)
    return f"{error.format_message().rstrip('.')}; {see}"


def _context(root: click.Group, arguments: Sequence[str]) -> click.Context:
    """That of the command which the first words of a command line name."""
    context = click.Context(root, info_name=root.name)
    for word in arguments:
        child = context.command.get_command(context, word) if isinstance(context.command, click.Group) else None
        if child is None:
            break
        context = click.Context(child, info_name=word, parent=context)
    return context


def _missing(context: click.Context) -> Iterator[str]:
    """Names of what the command needs and has not got: click itself stops at the first."""
    for parameter in context.command.get_params(context):
        # By now click has read what was given.
        value = context.params.get(parameter.name or "") or parameter.consume_value(context, {})[0]
        if parameter.required and parameter.value_is_missing(value):
            named = isinstance(parameter, click.Option)
            yield max(parameter.opts, key=len) if named else parameter.human_readable_name.upper()


def _options(context: click.Context) -> dict[str, click.Option]:
    options = [one for one in context.command.get_params(context) if isinstance(one, click.Option)]
    return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}


def _unknown(context: click.Context, arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Options that the command does not have, and the value that each was given."""
    known, unknown = _options(context), []
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--":
            break
        if name in known:
            if not (known[name].is_flag or equals) and rest:
                rest.pop(0)
        elif name.lstrip("-")[:1].isalpha() and name.startswith("-"):
            given = value if equals else next((one for one in rest[:1] if not one.startswith("-")), "VALUE")
            unknown.append((name, given))
    return unknown


def _nearest(context: click.Context, name: str, value: str) -> str:
    """What could have been meant by an option: a configuration key of that name, or an option nearly of that name."""
    known = _options(context)
    word = name.lstrip("-").replace("-", "_")
    keys = _keys() if known.keys() & {"--set", "--space"} else []
    if "--set" in known:
        keys = [key.removeprefix(SPACE) for key in keys if key.startswith(SPACE)]
    near = [key for key in keys if f".{key}".endswith(f".{word}")]
    options = get_close_matches(f"--{name.lstrip('-')}", known, n=1)
    if options and (not near or options[0].lstrip("-") == name.lstrip("-")):
        return f"did you mean {options[0]}?"
    for leaf in get_close_matches(word, {key.rpartition(".")[2] for key in keys}, n=1):
        near = near or [key for key in keys if key.endswith(f".{leaf}")]
    if not near:
        return ""
    if "--set" in known:
        return f"did you mean {' or '.join(f'`--set {key}={value}`' for key in near[:MAX_KEYS])}?"
    return f"write it in the search file: {' or '.join(near[:MAX_KEYS])}"


def _keys() -> list[str]:
    """Every key of a search file, dotted; those of a training's configuration lie below `space`.

    They are read off the schema, as the classes behind them take seconds to import.
    """
    from whc.config import shipped

    schema = json.loads(shipped("search_spaces", "schema.json").read_text(encoding="utf-8"))
    return list(dict.fromkeys(_walk(schema, "")))


def _walk(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _walk(inner, f"{prefix}{name}.")
    for choice in schema.get("anyOf", ()):
        yield from _walk(choice, prefix)


def _nearest_command(context: click.Context, name: str) -> str:
    """The command, here or anywhere, whose name is nearest; nothing when none is near."""
    group = context.command
    here = {child: f"{context.command_path} {child}" for child in group.list_commands(context)}  # type: ignore[attr-defined]
    root = context.find_root()
    anywhere = {path.rpartition(" ")[2]: path for path in _paths(root.command, root, root.command_path)}
    for commands in (here, anywhere):
        for near in get_close_matches(name, commands, n=1):
            return commands[near]
    return ""


def _paths(group: click.Command, context: click.Context, prefix: str) -> Iterator[str]:
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            path = f"{prefix} {name}"
            yield path
            child = group.get_command(context, name)
            if child:
                yield from _paths(child, context, path)
