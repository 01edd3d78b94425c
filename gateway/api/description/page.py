"""An OpenAPI document as one page for people: no script, no request to anywhere, readable on a phone and in the dark."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What a browser may do on this page: show it."""

_CODE = re.compile(r"`([^`]+)`")
_METHODS = ("get", "post", "put", "patch", "delete")

Document = Mapping[str, Any]


def page(document: Document, *, json_path: str, start: str = "") -> bytes:
    """`start` is what a reader may paste into a shell before anything else."""
    info = document["info"]
    title = escape(info["title"])
    operations = list(_operations(document))
    parts = [
        f'<h1 id="top">{title} <small class="soft">{escape(info["version"])}</small></h1>',
        _prose(info.get("description", "")),
        f"<pre>{escape(start)}</pre>" if start else "",
        *_tagged(document, operations),
        _errors(document),
        _headers(document),
        _types(document),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head><body><div class="frame">'
        f"{_navigation(document, operations, json_path)}<main>{''.join(parts)}</main></div></body></html>"
    ).encode()


def _operations(document: Document) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method, path, item[method]


def _tag(operation: Mapping[str, Any]) -> str:
    return str(next(iter(operation.get("tags") or ()), "Operations"))


def _navigation(document: Document, operations: list[Any], json_path: str) -> str:
    made = [
        f'<nav aria-label="Contents"><a href="#top"><strong>{escape(document["info"]["title"])}</strong></a>'
    ]
    made.append(f'<a href="{escape(json_path)}">OpenAPI document</a>')
    for tag in dict.fromkeys(_tag(operation) for _, _, operation in operations):
        rows = [
            f'<li><a href="#{_anchor(method, path)}">{escape(operation.get("summary") or path)}</a></li>'
            for method, path, operation in operations
            if _tag(operation) == tag
        ]
        made.append(f"<section><h2>{escape(tag)}</h2><ul>{''.join(rows)}</ul></section>")
    links = (("errors", "Errors"), ("headers", "Headers"), ("types", "Types"))
    rows = [f'<li><a href="#{name}">{text}</a></li>' for name, text in links]
    return f"{''.join(made)}<section><h2>Reference</h2><ul>{''.join(rows)}</ul></section></nav>"


def _tagged(document: Document, operations: list[Any]) -> Iterable[str]:
    for tag in dict.fromkeys(_tag(operation) for _, _, operation in operations):
        yield f"<h2>{escape(tag)}</h2>"
        for method, path, operation in operations:
            if _tag(operation) == tag:
                yield _section(document, method, path, operation)


def _section(document: Document, method: str, path: str, operation: Mapping[str, Any]) -> str:
    summary = escape(operation.get("summary") or path)
    made = [
        f'<section id="{_anchor(method, path)}"><h3>{summary}</h3>',
        f'<p class="path"><span class="method {method}">{method}</span><code>{escape(path)}</code></p>',
        _prose(operation.get("description", "")),
    ]
    for index, sample in enumerate(operation.get("x-codeSamples", ())):
        source = f"<pre>{escape(sample['source'])}</pre>"
        made.append(_fold(sample["label"], source, is_open=index == 0))
    if parameters := operation.get("parameters"):
        rows = [
            _row(
                each["name"],
                each.get("schema", {}),
                each.get("description", ""),
                is_required=each.get("required"),
            )
            for each in parameters
        ]
        made.append(f"<h4>Parameters</h4>{_table(rows)}")
    made += [
        f"<h4>Request</h4>{_fields(document, content['schema'])}"
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    made.append(_replies(document, operation.get("responses", {})))
    return "".join(made) + "</section>"


def _replies(document: Document, responses: Mapping[str, Any]) -> str:
    made = ["<h4>Replies</h4>"]
    for status in sorted(status for status in responses if status.startswith("2")):
        for media, content in responses[status].get("content", {}).items():
            schema = content.get("x-event-schema", content.get("schema", {}))
            what = "Each event of a stream" if media == "text/event-stream" else "As asked"
            inside = _fields(document, schema)
            if example := content.get("example"):
                text = (
                    example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
                )
                inside += f"<pre>{escape(text)}</pre>"
            made.append(_fold(f"{status} {what}: {media}", inside))
    others = [
        f'<li><a href="#error-{status}">{status}</a></li>'
        if "$ref" in reply
        else f'<li><span title="{escape(reply.get("description") or "")}">{status}</span></li>'
        for status, reply in sorted(responses.items())
        if not status.startswith("2")
    ]
    return f'{"".join(made)}<ul class="statuses">{"".join(others)}</ul>'


def _fields(document: Document, schema: Mapping[str, Any]) -> str:
    """The fields of an object; of anything else its type."""
    name = schema.get("$ref", "").rpartition("/")[2]
    whole = document.get("components", {}).get("schemas", {}).get(name, schema)
    if not whole.get("properties"):
        return f"<p>{_kind(schema)}</p>"
    required = whole.get("required", ())
    rows = [
        _row(field, inner, inner.get("description", ""), is_required=field in required)
        for field, inner in whole["properties"].items()
    ]
    return _prose(whole.get("description", "")) + _table(rows)


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    """Without its last column if nothing stands in it."""
    shown = 3 if any(text for *_, text in rows) else 2
    head = "".join(f"<th>{name}</th>" for name in ("field", "type", "meaning")[:shown])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row[:shown]) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(
    name: str, schema: Mapping[str, Any], text: str, *, is_required: bool | None
) -> tuple[str, str, str]:
    must = '<span class="must">required</span>' if is_required else ""
    return f"<code>{escape(name)}</code>{must}", _kind(schema), _inline(text)


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, with links to those that have a name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#type-{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[key]))
    if "enum" in schema:
        return ", ".join(
            "null" if each is None else f"<code>{escape(str(each))}</code>" for each in schema["enum"]
        )
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(escape(each) for each in kind)
    if kind == "array":
        return f"array of {_kind(schema.get('items') or {})}"
    return escape(kind) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return ""
    if high is None:
        return f" ≥ {low}"
    return f" ≤ {high}" if low is None else f" {low} to {high}"


def _errors(document: Document) -> str:
    shared = document.get("components", {}).get("responses", {})
    rows: list[str] = []
    seen: set[tuple[str, str]] = set()
    for key, reply in sorted(shared.items(), key=lambda item: item[0].rpartition("-")[2]):
        status = key.rpartition("-")[2]
        for code, example in reply["content"]["application/json"].get("examples", {}).items():
            if (status, code) not in seen:
                anchor = "" if any(known == status for known, _ in seen) else f' id="error-{status}"'
                seen.add((status, code))
                rows.append(
                    f"<tr{anchor}><td>{status}</td><td><code>{escape(code)}</code></td>"
                    f"<td>{_inline(example['summary'])}</td></tr>"
                )
    if not rows:
        return ""
    return (
        '<h2 id="errors">Errors</h2><p>Every refusal carries its request id in a header, and '
        "<code>x-should-retry</code> where it is certain whether sending the same again can help; the official SDKs "
        "obey it.</p>"
        '<div class="scroll"><table><thead><tr><th>status</th><th>code</th><th>meaning</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _headers(document: Document) -> str:
    found = document.get("components", {}).get("headers", {})
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{_inline(header.get('description', ''))}</td></tr>"
        for name, header in found.items()
    ]
    if not rows:
        return ""
    return (
        '<h2 id="headers">Headers of replies</h2><div class="scroll"><table><thead><tr><th>header</th>'
        f"<th>meaning</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _types(document: Document) -> str:
    found = document.get("components", {}).get("schemas", {})
    made = [
        f'<section id="type-{escape(name)}"><h3>{escape(name)}</h3>{_fields(document, schema)}</section>'
        for name, schema in sorted(found.items())
    ]
    return f'<h2 id="types">Types</h2>{"".join(made)}' if made else ""


def _fold(label: str, inside: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{escape(label)}</summary>{inside}</details>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in re.split(r"\n\s*\n", text.strip()) if part)


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _anchor(method: str, path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{method} {path}".lower()).strip("-")
