"""Parse a command line with tyro; what is wrong with it becomes one line that names the flag as it was typed."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import tyro

from albertqa.errors import SettingsError, did_you_mean

_VALUES = {"INT": "a whole number", "FLOAT": "a number"}


def parse_command(commands: Any, arguments: Sequence[str], default: object = None, *, description: str) -> Any:
    """Parse a command line.

    Args:
        commands: A union of dataclasses, which name the commands.
        arguments: The command line without the program's name.
        default: A command whose values are the defaults; None: those of its class.
        description: Text above the list of commands.

    Raises:
        SettingsError: Something is wrong with the command line.
        SystemExit: Help was asked for, and printed.
    """
    flags = {command_name(kind): flags_of(kind) for kind in get_args(commands)}
    words = list(arguments)
    if words and words[0] in flags:
        words[1:] = _plain_booleans(flags[words[0]], words[1:])
        _refuse_repeated_lists(flags[words[0]], words[1:])

    def refuse(event: Any) -> None:
        explanation = _explained(event, words, flags)
        if explanation is not None:
            raise SettingsError(explanation)

    with tyro._errors.on_parse_error(refuse):
        return tyro.cli(
            commands,
            prog="albertqa",
            description=description,
            args=words,
            default=tyro.MISSING_NONPROP if default is None else default,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.DisallowNone),
            compact_help=is_short_help(words),
        )


def is_short_help(arguments: Sequence[str]) -> bool:
    """Return whether a command's flags are asked for without their explanations."""
    return not {"-h", "-H"}.isdisjoint(arguments[1:])


def command_name(kind: type) -> str:
    """Return a command's name: ``find-lr`` for `FindLr`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


class FlagField(NamedTuple):
    """What a flag sets: the name of a field, and the type of its value."""

    field: str
    value_type: Any


def flags_of(kind: type) -> dict[str, FlagField]:
    """Return a command's flags, aliases and groups included, with what they set."""
    found: dict[str, FlagField] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        value_type = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        notes = getattr(hint, "__metadata__", ())
        if isinstance(value_type, type) and dataclasses.is_dataclass(value_type):
            found |= flags_of(value_type)
        elif tyro.conf.Positional not in notes:
            aliases = [alias for note in notes for alias in getattr(note, "aliases", None) or ()]
            found |= dict.fromkeys([f"--{name.replace('_', '-')}", *aliases], FlagField(name, value_type))
    return found


def with_typed_flags(message: str, commands: Any, words: Sequence[str]) -> str:
    """Return a message about settings with the flags that the user typed in place of the fields' names."""
    kinds = {command_name(kind): kind for kind in get_args(commands)}
    if not words or words[0] not in kinds:
        return message
    flags = flags_of(kinds[words[0]])
    for word in words[1:]:
        typed = word.partition("=")[0]
        if _plain(typed) in flags:
            message = re.sub(rf"\b{flags[_plain(typed)].field} is\b", f"{typed} is", message)
    return message


def _plain_booleans(flags: Mapping[str, FlagField], words: Sequence[str]) -> list[str]:
    """Rewrite `--flag True` and `--flag=False` as `--flag` and `--no-flag`."""
    plain: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            name, value = plain[-1] if plain else "", word
        flag = _plain(name)
        value_type = flags[flag].value_type if flag in flags else None
        if bool in {value_type, *get_args(value_type)} and value.lower() in {"true", "false"}:
            plain[len(plain) - (not equals) :] = [flag if value.lower() == "true" else f"--no-{flag[2:]}"]
        else:
            plain.append(word)
    return plain


def _refuse_repeated_lists(flags: Mapping[str, FlagField], words: Sequence[str]) -> None:
    """Refuse a flag that takes several values and is given twice; the second would replace the first."""
    typed = [_plain(word.partition("=")[0]) for word in words]
    for flag in dict.fromkeys(typed):
        if typed.count(flag) > 1 and flag in flags and get_origin(flags[flag].value_type) is tuple:
            raise SettingsError(f"{flag} is given twice. Name everything after one: {flag} A B")


def _plain(flag: str) -> str:
    return flag.replace("_", "-") if flag.startswith("--") else flag


def _explained(event: Any, words: Sequence[str], flags: Mapping[str, Mapping[str, FlagField]]) -> str | None:
    """Explain in one line what tyro refuses; None: tyro's own words."""
    command = words[0] if words and words[0] in flags else None
    if command is None:
        return _unknown_command(words[0] if words else "", list(flags))
    more = f"See: albertqa {command} --help"
    known = list(flags[command])
    if isinstance(event, tyro._errors.UnrecognizedArgs):
        unknown = next((token for token in event.tokens if token.startswith("-")), None)
        if unknown is None:
            return f"{command}: unexpected argument '{event.tokens[0]}'. {more}"
        name = unknown.partition("=")[0]
        return f"{command}: there is no {name}{did_you_mean(_plain(name), known) or '.'} {more}"
    if isinstance(event, tyro._errors.MissingArgs):
        missing = " and ".join(str(one.arg.lowered.metavar) for one in event.missing_arguments)
        return f"{command}: expected {missing}, found none. {more}"
    argument = getattr(event, "argument", None)
    if argument is None:
        return None
    lowered = argument.lowered
    flag, value = _as_typed(lowered.name_or_flags, words)
    flag = lowered.metavar if argument.is_positional() else flag
    if isinstance(event, tyro._errors.BadValue):
        return f"{flag}: expected a value ({lowered.metavar}), found none. {more}"
    if isinstance(event, tyro._errors.InvalidChoice):
        near = did_you_mean(event.value, event.choices) or "."
        return f"{flag}: expected {' or '.join(event.choices)}, found '{event.value}'{near} {more}"
    if isinstance(event, tyro._errors.InstantiationFailure):
        expected = _VALUES.get(lowered.metavar, lowered.metavar)
        return f"{flag}: expected {expected}, found '{value}'. {more}"
    return None


def _unknown_command(word: str, commands: Sequence[str]) -> str:
    listed = f"There are: {', '.join(commands)}"
    if not word or word.startswith("-"):
        return f"expected a command{f' before {word}' if word else ''}, found none. {listed}"
    return f"no command '{word}'{did_you_mean(word, commands) or f'. {listed}'}"


def _as_typed(names: Sequence[str], words: Sequence[str]) -> tuple[str, str]:
    """Return a flag as the user wrote it, and what comes after it."""
    for at in range(len(words) - 1, -1, -1):
        name, equals, value = words[at].partition("=")
        if _plain(name) in names:
            return name, value if equals else "".join(words[at + 1 : at + 2])
    return names[-1], ""
