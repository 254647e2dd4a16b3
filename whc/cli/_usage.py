"""Messages for a command line that cannot be read: all that is missing or unknown, and suggestions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click

MAX_KEYS = 3  # configuration keys named for one unknown option
SPACE_PREFIX = "space."


def explanation(error: click.ClickException, arguments: Sequence[str], root: click.Group) -> str:
    """Lines that explain an error, each with a next step.

    Args:
        error: click's exception for the first wrong part.
        arguments: the whole command line, without the program's name.
        root: the program, called `whc`.
    """
    # Some of click's errors have no context.
    context = getattr(error, "ctx", None) or _context(root, arguments)
    help_hint = f"see `{context.command_path} --help`"
    if isinstance(error, click.MissingParameter):
        return "\n".join(f"{name}: required, got nothing; {help_hint}" for name in _missing(context))
    if isinstance(error, click.NoSuchOption):
        unknown = _unknown(context, arguments) or [(error.option_name, "VALUE")]
        hints = ((name, _nearest(context, name, value) or help_hint) for name, value in unknown)
        return "\n".join(f"{name}: no such option; {hint}" for name, hint in hints)
    command = getattr(error, "command_name", None)
    if command:
        suggestion = _nearest_command(context, command)
        return f"{command}: no such command; " + (f"did you mean `{suggestion}`?" if suggestion else help_hint)
    return f"{error.format_message().rstrip('.')}; {help_hint}"


def _context(root: click.Group, arguments: Sequence[str]) -> click.Context:
    """Context of the command that the first words of a command line name."""
    context = click.Context(root, info_name=root.name)
    for word in arguments:
        child = context.command.get_command(context, word) if isinstance(context.command, click.Group) else None
        if child is None:
            break
        context = click.Context(child, info_name=word, parent=context)
    return context


def _missing(context: click.Context) -> Iterator[str]:
    """Names of all parameters that the command still needs: click itself stops at the first."""
    for parameter in context.command.get_params(context):
        # At this point click has read all given values.
        value = context.params.get(parameter.name or "") or parameter.consume_value(context, {})[0]
        if parameter.required and parameter.value_is_missing(value):
            is_option = isinstance(parameter, click.Option)
            yield max(parameter.opts, key=len) if is_option else parameter.human_readable_name.upper()


def _options(context: click.Context) -> dict[str, click.Option]:
    options = [parameter for parameter in context.command.get_params(context) if isinstance(parameter, click.Option)]
    return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}


def _unknown(context: click.Context, arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Given options that the command does not have, each with its value."""
    options, unknown = _options(context), []
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--":
            break
        if name in options:
            if not (options[name].is_flag or equals) and rest:
                rest.pop(0)
        elif name.lstrip("-")[:1].isalpha() and name.startswith("-"):
            following = rest[0] if rest and not rest[0].startswith("-") else "VALUE"
            unknown.append((name, value if equals else following))
    return unknown


def _nearest(context: click.Context, name: str, value: str) -> str:
    """A hint for an unknown option: configuration keys of that name, or an option with a similar name."""
    command_options = _options(context)
    word = name.lstrip("-").replace("-", "_")
    keys = _keys() if command_options.keys() & {"--set", "--space"} else []
    if "--set" in command_options:
        keys = [key.removeprefix(SPACE_PREFIX) for key in keys if key.startswith(SPACE_PREFIX)]
    matching_keys = [key for key in keys if f".{key}".endswith(f".{word}")]
    near_options = get_close_matches(f"--{name.lstrip('-')}", command_options, n=1)
    if near_options and (not matching_keys or near_options[0].lstrip("-") == name.lstrip("-")):
        return f"did you mean {near_options[0]}?"
    for leaf in get_close_matches(word, {key.rpartition(".")[2] for key in keys}, n=1):
        matching_keys = matching_keys or [key for key in keys if key.endswith(f".{leaf}")]
    if not matching_keys:
        return ""
    if "--set" in command_options:
        return f"did you mean {' or '.join(f'`--set {key}={value}`' for key in matching_keys[:MAX_KEYS])}?"
    return f"write it in the search file: {' or '.join(matching_keys[:MAX_KEYS])}"


def _keys() -> list[str]:
    """All dotted keys of a search file; those of a training's configuration are below `space`.

    They are read from the schema, as importing the classes behind them takes seconds.
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
    """The command with the most similar name, in this group or anywhere; empty when none is similar."""
    group = context.command
    in_group = {child: f"{context.command_path} {child}" for child in group.list_commands(context)}  # type: ignore[attr-defined]
    root = context.find_root()
    anywhere = {path.rpartition(" ")[2]: path for path in _paths(root.command, root, root.command_path)}
    for commands in (in_group, anywhere):
        for match in get_close_matches(name, commands, n=1):
            return commands[match]
    return ""


def _paths(group: click.Command, context: click.Context, prefix: str) -> Iterator[str]:
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            path = f"{prefix} {name}"
            yield path
            child = group.get_command(context, name)
            if child:
                yield from _paths(child, context, path)
