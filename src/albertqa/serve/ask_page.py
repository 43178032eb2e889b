"""The pages: parts put together into one HTML file each, with a policy that lets nothing else run or load."""

import base64
import hashlib
import json
from importlib import resources
from typing import Any


def page_html(backend: str | None = None, *, connect: str = "'self'") -> tuple[str, str]:
    """Return the page that people ask on, and its content security policy.

    Args:
        backend: JavaScript that defines ``createBackend``, which answers the page's questions; None: this server does.
        connect: Where it may send requests, as the policy's ``connect-src``.
    """
    css = _part("page.css")
    script = f"{_part('page.js')}\n{backend if backend is not None else _part('backend.js')}\nstart(createBackend());"
    html = _part("page.html").replace("/* style */", css).replace("/* script */", script)
    return html, _policy(css, script, connect)


def static_page_html(backend: str) -> str:
    """Return the page for a folder of files, which cannot send headers: its policy is inside it.

    Args:
        backend: JavaScript that defines ``createBackend``; the page itself sends nothing, but may start workers.
    """
    html, policy = page_html(backend, connect="'none'")
    policy = policy.replace("frame-ancestors 'none'", "worker-src 'self'")
    first = '<meta charset="utf-8">'
    return html.replace(first, f'{first}\n<meta http-equiv="Content-Security-Policy" content="{policy}">', 1)


def docs_html(openapi: dict[str, Any]) -> tuple[str, str]:
    """Return a page about the API, and its content security policy.

    Args:
        openapi: The API's own description.
    """
    import jinja2
    import markupsafe

    css = _part("page.css")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    schemas = openapi["components"]["schemas"]

    def named(schema: dict[str, Any]) -> str | None:
        return str(schema["$ref"]).rpartition("/")[2] if "$ref" in schema else None

    def kind(schema: dict[str, Any]) -> str:
        """Return a schema's type in words."""
        if name := named(schema):
            return name
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return " or ".join(kind(one) for one in options)
        if schema.get("type") == "array":
            return f"list of {kind(schema.get('items', {}))}"
        plain = str(schema.get("type", "anything"))
        return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(plain, plain)

    html = environment.from_string(_part("docs.html.jinja")).render(
        css=markupsafe.Markup(css),
        api=openapi,
        schemas=schemas,
        kind=kind,
        json=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    )
    return str(html), _policy(css, "", "'none'")


def _part(name: str) -> str:
    return resources.files("albertqa.serve").joinpath("page", name).read_text(encoding="utf-8")


def _policy(css: str, script: str, connect: str) -> str:
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in (css, script)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; "
        f"connect-src {connect}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
