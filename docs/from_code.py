"""Parts of the pages that are generated from the code, so that they cannot differ from it.

A page has a line ``<!-- from the code: NAME -->``. When the site is built, the text that the function of that name in
`PARTS` returns takes its place.
"""

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import tyro

import albertqa
from albertqa import errors
from albertqa.cli.command_line import command_name
from albertqa.cli.commands import Command
from albertqa.cli.settings_flags import SettingsFlags
from albertqa.config import Config, Settings
from albertqa.data.problems import KINDS, Severity
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.decode.spans import Candidate
from albertqa.health import advice, rules
from albertqa.rundir.findings import Finding
from albertqa.rundir.rows import EvaluationRow, StepRow
from albertqa.rundir.run_json import RunJson
from albertqa.study.spec import StudySpec

_MARK = re.compile(r"^<!-- from the code: (\w+) -->$", re.MULTILINE)
_UNKNOWN = "…"
_SEVERITIES: tuple[str, ...] = get_args(Severity)


def filled(text: str) -> str:
    """Return a page with its marks replaced."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](), text)


# Commands and settings


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag, or an argument without one.

    Attributes:
        names: The flag and its aliases; of a positional argument, what its help calls it.
        field: The field that it sets.
        value: What its help calls the value; "" for a switch.
        default: The default as it is written on the command line; "" where there is none.
        text: Its help.
    """

    names: tuple[str, ...]
    field: str
    value: str
    default: str
    text: str

    @property
    def is_positional(self) -> bool:
        """Whether it is an argument without a flag."""
        return not self.names[0].startswith("-")


@dataclasses.dataclass(frozen=True)
class Group:
    """Flags that belong together."""

    name: str
    text: str
    flags: tuple[Flag, ...]


def command_kinds() -> dict[str, type]:
    """Return the commands by name."""
    return {command_name(kind): kind for kind in get_args(Command)}


def groups_of(kind: type) -> list[Group]:
    """Return the flags of a command: first its own, then those of each group."""
    own, groups = [], []
    texts, hints = _field_texts(kind), get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        value_type, notes = _without_notes(hints[field.name])
        if isinstance(value_type, type) and dataclasses.is_dataclass(value_type):
            groups.append(Group(field.name, texts[field.name], tuple(_flags(value_type, _default(field)))))
        else:
            own.append(_flag(field, value_type, notes, texts[field.name], _default(field)))
    return [Group("", "", tuple(own)), *groups]


def _flags(kind: type, defaults: Any) -> Iterator[Flag]:
    texts, hints = _field_texts(kind), get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        value_type, notes = _without_notes(hints[field.name])
        default = _default(field) if defaults is dataclasses.MISSING else getattr(defaults, field.name)
        yield _flag(field, value_type, notes, texts[field.name], default)


def _flag(field: dataclasses.Field[Any], value_type: Any, notes: tuple[Any, ...], text: str, default: Any) -> Flag:
    metavar = next((note.metavar for note in notes if getattr(note, "metavar", None)), None)
    if tyro.conf.Positional in notes:
        return Flag((metavar or field.name.upper(),), field.name, "", "", text)
    name = field.name.replace("_", "-")
    aliases = [alias for note in notes for alias in getattr(note, "aliases", None) or ()]
    is_switch = bool in {value_type, *get_args(value_type)}
    names = [f"--{name}", *aliases]
    if is_switch and tyro.conf.FlagCreatePairsOff not in notes:
        names.append(f"--no-{name}")
    value = "" if is_switch else metavar or _metavar(value_type)
    return Flag(tuple(names), field.name, value, "" if is_switch else _written(default), text)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _written(default: Any) -> str:
    if default is dataclasses.MISSING or default is None or default in ((), ""):
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _without_notes(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    notes = getattr(hint, "__metadata__", ())
    return (get_args(hint)[0], notes) if notes else (hint, ())


def _metavar(value_type: Any) -> str:
    if get_origin(value_type) is Literal:
        return "|".join(map(str, get_args(value_type)))
    options = [option for option in get_args(value_type) if option not in (type(None), Ellipsis)]
    if get_origin(value_type) is tuple:
        return f"{_metavar(options[0])} ..."
    if options:
        return "|".join(dict.fromkeys(map(_metavar, options)))
    return {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}[value_type]


def _field_texts(kind: type) -> dict[str, str]:
    """Return the docstring under each field of a dataclass, those of its bases included."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        definition = ast.parse(inspect.cleandoc(inspect.getsource(one))).body[0]
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                texts[field.target.id] = _one_line(ast.literal_eval(text.value))
    return texts


def commands() -> str:
    """Return the page of the commands, without its title."""
    parts = []
    for name, kind in command_kinds().items():
        positional = "".join(f" {flag.names[0]}" for flag in groups_of(kind)[0].flags if flag.is_positional)
        parts += [f"(command-{name})=", f"## {name}", str(kind.__doc__), f"`albertqa {name}{positional} [flags]`"]
        parts += [f"```{{program}} albertqa {name}\n```"]
        shares = issubclass(kind, SettingsFlags) and name != "train"
        for group in groups_of(kind):
            if shares and group.name and issubclass(type(getattr(kind(), group.name)), Config):
                continue
            if group.name:
                text, _, example = group.text.partition(" Example: ")
                parts += [f"**{group.name} options.** {text}" + (f" Example: `{example}`" if example else "")]
            parts += [_option(flag) for flag in group.flags]
        if shares:
            parts += [f"And every setting of [train](#command-train): `{name}` takes the same flags."]
    return "\n\n".join(parts)


def _option(flag: Flag) -> str:
    value = f" {flag.value}" if flag.value else ""
    signature = ", ".join(f"{name}{value}" for name in flag.names)
    default = f" (default: `{flag.default}`)" if flag.default else ""
    return f"````{{option}} {signature}\n{_escaped(flag.text)}{default}\n````"


def settings() -> str:
    """Return the page of the settings, without its title: a table for each group."""
    parts, hints = [], get_type_hints(Settings)
    for group in groups_of(SettingsFlags):
        kind = type(getattr(SettingsFlags(), group.name)) if group.name else object
        if not issubclass(kind, Config):
            continue
        parts += [f"(settings-{group.name})=", f"## {group.name}", group.text.partition(" Example: ")[0]]
        rows = []
        for flag in group.flags:
            default = _toml(getattr(Settings, flag.field))
            names = ", ".join(f"`{name}`" for name in flag.names)
            rows.append((f"`{flag.field}`", _type(hints[flag.field]), default, f"{_escaped(flag.text)} ({names})"))
        parts.append(_table(("key", "type", "default", "what it does, and its flags"), rows))
    return "\n\n".join(parts)


def _toml(value: Any) -> str:
    if value is None:
        return "unset"
    value = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`"


def _type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(f"`{option}`" for option in get_args(hint))
    options = [option for option in get_args(hint) if option not in (type(None), Ellipsis)]
    if get_origin(hint) is tuple:
        return f"list of {_type(options[0])}"
    if options:
        return " or ".join(map(_type, options))
    return {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}[hint]


def study() -> str:
    """Return the table of what a study's file has beside its settings."""
    texts = _attribute_texts(StudySpec)
    rows = [(f"`{name}`", _escaped(texts[name])) for name in _schema_properties(StudySpec)]
    return _table(("key", "what it is"), rows)


# Findings


@dataclasses.dataclass
class FoundBy:
    """What the rules say of one finding.

    Attributes:
        name: Its name.
        severities: The severities it may have.
        meanings: What the rules that report it look for.
        messages: Its messages, with `…` for what a run fills in.
        numbers: The numbers that it rests on.
        remedies: What the command does that it ends with.
    """

    name: str
    severities: dict[str, None] = dataclasses.field(default_factory=dict)
    meanings: dict[str, None] = dataclasses.field(default_factory=dict)
    messages: dict[str, None] = dataclasses.field(default_factory=dict)
    numbers: dict[str, None] = dataclasses.field(default_factory=dict)
    remedies: dict[str, None] = dataclasses.field(default_factory=dict)


def finding_groups() -> dict[str, list[FoundBy]]:
    """Return all findings, by what the module of their rules is about; its name and text are the key."""
    found: dict[str, FoundBy] = {}
    groups: dict[str, list[FoundBy]] = {}
    for module in _modules(rules):
        names: dict[str, None] = {}
        for function in _functions(module):
            for call in _calls(function, "Finding"):
                names |= dict.fromkeys(_read_finding(call, function, found))
        title = module.__name__.rpartition(".")[2].replace("_", " ")
        key = f"## About {title}\n\n{module.__doc__}"
        groups[key] = [found[name] for name in names if not any(found[name] in group for group in groups.values())]
    return groups


def _functions(module: ModuleType) -> list[ast.FunctionDef]:
    return [one for one in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(one, ast.FunctionDef)]


def _calls(function: ast.FunctionDef, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Call) and _is_name(node.func, name)]


def _read_finding(call: ast.Call, function: ast.FunctionDef, found: dict[str, FoundBy]) -> list[str]:
    """Read one call of `Finding`; return the names that it may have."""
    name, severity, message, remedy, *numbers = call.args
    names = _texts(name, function)
    for one in (found.setdefault(text, FoundBy(text)) for text in names):
        one.meanings[_one_line((ast.get_docstring(function) or "").partition("\n\n")[0])] = None
        one.severities |= dict.fromkeys(text for text in _texts(severity, function) if text in _SEVERITIES)
        one.messages |= dict.fromkeys(_texts(message, function))
        one.numbers |= dict.fromkeys(key for mapping in numbers for key in _keys(mapping, function))
        one.remedies |= dict.fromkeys(_remedies(remedy, function))
    return names


def _assigned(name: str, function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yield what a function assigns to a name."""
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                yield from (value for target, value in zip(targets, values, strict=True) if _is_name(target, name))
            case ast.Assign(targets=targets, value=value) if any(_is_name(target, name) for target in targets):
                yield value
            case ast.AnnAssign(target=target, value=ast.expr() as value) if _is_name(target, name):
                yield value


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _texts(node: ast.expr, function: ast.FunctionDef) -> list[str]:
    """Return the texts that an expression may be, with `…` for what is not known before it runs."""
    match node:
        case ast.Constant():
            return [str(node.value)]
        case ast.JoinedStr():
            return ["".join(parts) for parts in product(*(_filled_in(one, function) for one in node.values))]
        case ast.BinOp(op=ast.Add()):
            return [a + b for a in _texts(node.left, function) for b in _texts(node.right, function)]
        case ast.IfExp():
            return [*_texts(node.body, function), *_texts(node.orelse, function)]
        case ast.Name():
            return [text for value in _assigned(node.id, function) for text in _texts(value, function)] or [_UNKNOWN]
    return [_UNKNOWN]


def _filled_in(part: ast.expr, function: ast.FunctionDef) -> list[str]:
    """Return the texts that a part of an f-string may be; only sentences are followed to where they are assigned."""
    if isinstance(part, ast.Constant):
        return [str(part.value)]
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name | ast.IfExp):
        return [text for text in _texts(part.value, function) if text.count(" ") > 4] or [_UNKNOWN]
    return [_UNKNOWN]


def _keys(node: ast.expr, function: ast.FunctionDef) -> list[str]:
    """Return the keys of a mapping of numbers."""
    match node:
        case ast.Dict():
            return [key.value for key in node.keys if isinstance(key, ast.Constant)]
        case ast.Call(func=ast.Name(id="evidence")):
            return [one.arg for one in node.keywords if one.arg is not None]
        case ast.Name():
            return [key for value in _assigned(node.id, function) for key in _keys(value, function)]
        case ast.BinOp():
            return [*_keys(node.left, function), *_keys(node.right, function)]
    return []


def _remedies(node: ast.expr, function: ast.FunctionDef) -> list[str]:
    """Return what the command does that a finding ends with."""
    match node:
        case ast.Call(func=ast.Name(id=name)) if hasattr(advice, name):
            does = re.sub(r"^Return the (commands?) that ", r"The \1 that ", _first_sentence(getattr(advice, name)))
            given = [one for one in node.keywords if one.arg and isinstance(one.value, ast.Constant)]
            changes = ", ".join(f"`{one.arg}` {ast.unparse(one.value)}" for one in given)
            return [does + (f", with {changes}" if changes else "")]
        case ast.IfExp():
            return [*_remedies(node.body, function), *_remedies(node.orelse, function)]
        case ast.BoolOp():
            return [text for one in node.values for text in _remedies(one, function)]
        case ast.Name():
            return [text for value in _assigned(node.id, function) for text in _remedies(value, function)]
    return []


def findings() -> str:
    """Return the page of the findings, without its title."""
    parts = []
    for heading, group in finding_groups().items():
        parts += [heading] if group else []
        for one in group:
            severities = " or ".join(name for name in _SEVERITIES if name in one.severities)
            parts += [f"({one.name})=", f"### {one.name}", f"*{severities}.* {' '.join(one.meanings)}"]
            parts += [f"> {_escaped(text)}" for text in one.messages if text.strip(_UNKNOWN + " ")]
            if one.numbers:
                parts.append(f"Numbers: {', '.join(f'`{name}`' for name in one.numbers)}")
            if one.remedies:
                parts.append("It ends with:")
                parts.append("\n".join(f"- {text}." for text in one.remedies))
    return "\n\n".join(parts)


# Errors and problems


def error_messages() -> dict[str, dict[str, None]]:
    """Return the messages of each class of errors, with `…` for what is filled in."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    found: dict[str, dict[str, None]] = {}
    for function in (function for module in _modules(albertqa) for function in _functions(module)):
        for node in ast.walk(function):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=kind), args=[message, *_])) if kind in kinds:
                    texts = [text for text in _texts(message, function) if text.strip(_UNKNOWN + ":. ")]
                    found.setdefault(kind, {}).update(dict.fromkeys(texts))
                case ast.Raise(exc=ast.Call(func=ast.Name(id="SourceError"), args=[_, message, *_])):
                    # Of a source that cannot be read: it reaches the user as a `DataError`.
                    texts = [text for text in _texts(message, function) if text != _UNKNOWN]
                    found.setdefault("DataError", {}).update(dict.fromkeys(texts))
    return found


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def error_list() -> str:
    """Return the list of all error messages."""
    parts = []
    for kind, messages in sorted(error_messages().items()):
        error = getattr(errors, kind)
        parts += [f"(errors-{kind.lower()})=", f"## {kind}", _first_sentence(error) + "."]
        if error.page != errors.AlbertQAError.page:
            parts.append(f"What helps on: [](/{error.page}.md).")
        parts.append("\n".join(f"- {_escaped(message)}" for message in sorted(messages)))
    return "\n\n".join(parts)


def problems() -> str:
    """Return the table of what `check` reports of single rows."""
    rows = [(f"`{name}`", kind.severity, _escaped(kind.meaning)) for name, kind in KINDS.items()]
    return _table(("problem", "severity", "what it is"), rows)


# Files

_STRUCTS: dict[str, tuple[str, type]] = {
    "step": ("metrics.jsonl: a training step", StepRow),
    "evaluation": ("metrics.jsonl: an evaluation", EvaluationRow),
    "run": ("run.json", RunJson),
    "finding": ("health.json: a finding", Finding),
    "candidate": ("nbest_predictions.json: a candidate", Candidate),
    "reader": ("reader.json", ReaderSettings),
}


def file_schemas() -> str:
    """Return the fields of the files that a run writes, and their JSON Schemas."""
    parts = []
    for name, (title, kind) in _STRUCTS.items():
        parts += [f"(file-{name})=", f"## {title}", _first_sentence(kind) + "."]
        texts = _attribute_texts(kind)
        hints = get_type_hints(kind)
        fields = [field for field in hints if field in _schema_properties(kind)]
        rows = [(f"`{field}`", _hint_text(hints[field]), _escaped(texts.get(field, ""))) for field in fields]
        parts.append(_table(("key", "type", "what it is"), rows))
        schema = json.dumps(msgspec.json.schema(kind), indent=1)
        parts.append(f"<details><summary>JSON Schema</summary>\n\n```json\n{schema}\n```\n\n</details>")
    return "\n\n".join(parts)


def _schema_properties(kind: type) -> Mapping[str, Any]:
    schema = msgspec.json.schema(kind)
    definition: Mapping[str, Any] = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    return definition["properties"]


def _attribute_texts(kind: type) -> dict[str, str]:
    """Return what the `Attributes` of a docstring say, or the docstrings under the fields of a dataclass."""
    if dataclasses.is_dataclass(kind):
        return _field_texts(kind)
    section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE)
    return {name: _one_line(text) for name, text in found}


_TYPE_NAMES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    type(None): "null",
    Any: "anything",
}


def _hint_text(hint: Any) -> str:
    options = [option for option in get_args(hint) if option is not Ellipsis]
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(f"`{option}`" for option in options)
    if origin in (list, tuple):
        return f"list of {_hint_text(options[0])}"
    if options and not (isinstance(origin, type) and issubclass(origin, Mapping)):
        named = [_hint_text(option) for option in options if option is not msgspec.UnsetType]
        return " or ".join(dict.fromkeys(named)) + (", if it applies" if msgspec.UnsetType in options else "")
    return _TYPE_NAMES.get(hint, "object")


# Python


def public_names() -> str:
    """Return what Sphinx needs to document every public name."""
    parts = [".. currentmodule:: albertqa"]
    for name in sorted(albertqa.__all__, key=str.lower):
        value = getattr(albertqa, name)
        if not isinstance(value, type):
            parts.append(f".. autofunction:: {name}")
        elif value is Settings:
            # Its 50 fields have a page of their own.
            parts.append(f".. autoclass:: {name}()")
        else:
            parts.append(
                f".. autoclass:: {name}\n   :members:\n   :inherited-members: object, Struct, Exception, tuple"
            )
    parts.append(".. currentmodule:: albertqa.errors")
    parts += [
        f".. autoexception:: {name}"
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and name not in albertqa.__all__
    ]
    return "```{eval-rst}\n" + "\n\n".join(parts) + "\n```"


def _first_sentence(value: Any) -> str:
    return _one_line(str(value.__doc__).partition("\n\n")[0]).rstrip(".").partition(". ")[0].partition(";")[0]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """Return a text for Markdown: HTML and emphasis are shown as they are; code stays code."""
    pieces = re.split(r"(``[^`]*``|`[^`]*`)", text)
    return "".join(
        piece if piece.startswith("`") else re.sub(r"([<>*_\[\]$|\\{}])", r"\\\1", piece) for piece in pieces
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "study": study,
    "findings": findings,
    "errors": error_list,
    "problems": problems,
    "files": file_schemas,
    "python": public_names,
}
