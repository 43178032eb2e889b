"""The templates of the pages and of the model cards, and the filters that format their values."""

import base64
import hashlib
import math
import re
from importlib import metadata, resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from albertqa.scoring.interval import Interval

_MISSING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def render(template: str, **values: Any) -> str:
    """Render a template of this package.

    Args:
        template: Its file name; values are escaped in HTML, and in Markdown only by the filters `plain` and `code`.
        values: What it shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("albertqa", "report"),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        percent=lambda value: _MISSING if value is None else f"{value:.2f}",
        rounded=lambda value: _MISSING if value is None else f"{value:.4g}",
        thousands=lambda value: f"{value:,}",
        signed=lambda value: f"{value:+.2f}".replace("-", _MINUS),
        interval=lambda one: "" if one is None else f"{one.low:.2f} to {one.high:.2f}",
        signed_interval=_signed_interval,
        duration=duration,
        setting=format_setting,
        backquotes=_backquotes,
        line=_line,
        plain=_plain,
        code=_code,
    )
    return environment.get_template(template).render(**values)


def render_page(template: str, *scripts: str, **values: Any) -> str:
    """Render an HTML page of its own style and scripts; its security policy allows nothing but these.

    Args:
        template: Its file name.
        scripts: File names of its scripts.
        values: What it shows.
    """
    css, script = _text("page.css"), "\n".join(map(_text, scripts))
    allowed = f"script-src '{_source(script)}'; " if scripts else ""
    policy = (
        f"default-src 'none'; {allowed}style-src '{_source(css)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    version = metadata.version("albertqa")
    html = render(template, policy=policy, css=Markup(css), script=Markup(script), version=version, **values)
    # A lone surrogate, which JSON data may hold, has no UTF-8 form.
    return html.encode("utf-8", "replace").decode("utf-8")


def duration(seconds: float) -> str:
    """Format a time; times of a damaged record may add up to more than a number holds.

    >>> duration(42.3), duration(200), duration(7300), duration(math.inf)
    ('42 s', '3 min 20 s', '2 h 1 min', 'unknown')
    """
    if not math.isfinite(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def format_setting(value: Any) -> str:
    """Format the value of a setting.

    >>> [format_setting(value) for value in (None, True, ("a", "b"), (), 3e-05, 20.0)]
    ['unset', 'yes', 'a, b', 'none', '3e-05', '20']
    """
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _text(name: str) -> str:
    return resources.files("albertqa.report").joinpath(name).read_text(encoding="utf-8")


def _source(content: str) -> str:
    """Return what a security policy calls a style or script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}"


def _signed_interval(one: Interval) -> str:
    return f"{one.low:+.2f} to {one.high:+.2f}".replace("-", _MINUS)


def _backquotes(text: str) -> Markup:
    """Show what is between back-quotes as code, in HTML."""
    code = Markup("<code>{}</code>")
    parts = [code.format(part) if at % 2 else escape(part) for at, part in enumerate(text.split("`"))]
    return Markup("").join(parts)


def _line(text: Any) -> str:
    """Write a text on one line."""
    return " ".join(str(text).split())


def _plain(text: Any) -> str:
    """Escape a text for Markdown."""
    escaped = {"&": "&amp;", "<": "&lt;", "|": "&#124;", "`": "&#96;"}
    return re.sub("[&<|`]", lambda found: escaped[found[0]], _line(text))


def _code(text: Any) -> str:
    """Write a text as code, in Markdown."""
    line = _line(text).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""
