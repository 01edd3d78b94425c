"""JSON schemas of the structs that requests are decoded with and replies described by, under names fit to be read."""

import ast
import inspect
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.api.description.operation import Schema

_PREFIX = "#/components/schemas/"


class Schemas:
    """`schemas[type]` is the schema of one that was given, `components` what they refer to."""

    def __init__(self, types: Sequence[Schema]) -> None:
        flat = [kind for given in types for kind in (given if isinstance(given, tuple) else (given,))]
        kinds = list(dict.fromkeys(kind for kind in flat if not isinstance(kind, dict)))
        made, components = msgspec.json.schema_components(kinds, ref_template=_PREFIX + "{name}")
        for name, texts in _texts(_structs(kinds)).items():
            _describe(components.get(name, {}).get("properties", {}), texts)
        names = _readable(components)
        self.components = {names[name]: _renamed(schema, names) for name, schema in components.items()}
        self._made = dict(zip(kinds, [_renamed(schema, names) for schema in made], strict=True))

    def __getitem__(self, kind: Schema) -> dict[str, Any]:
        if isinstance(kind, tuple):
            return {"anyOf": [self[each] for each in kind]}
        schema: dict[str, Any] = kind if isinstance(kind, dict) else self._made[kind]
        return schema


def _readable(components: dict[str, Any]) -> dict[str, str]:
    """A struct that is private to its module is public here, under a name of its own."""
    names: dict[str, str] = {name: name for name in components if not name.startswith("_")}
    for name in components:
        if name not in names:
            plain = name.lstrip("_")
            names[name] = plain if plain not in names.values() else f"{plain}Input"
    return names


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, dict):
        return {
            key: _PREFIX + names[value.removeprefix(_PREFIX)] if key == "$ref" else _renamed(value, names)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    return schema


def _structs(kinds: Sequence[Schema]) -> dict[str, type]:
    """Every struct in these types, by name."""
    found: dict[str, type] = {}
    todo = list(msgspec.inspect.multi_type_info(kinds))
    while todo:
        info: Any = todo.pop()
        if isinstance(info, msgspec.inspect.StructType) and info.cls.__name__ not in found:
            found[info.cls.__name__] = info.cls
            todo += [field.type for field in info.fields]
        else:
            todo += [
                inner
                for name in ("type", "item_type", "key_type", "value_type")
                if (inner := getattr(info, name, None)) is not None
            ]
            todo += [*getattr(info, "types", ()), *(getattr(info, "item_types", None) or ())]
    return found


def _describe(fields: dict[str, Any], texts: dict[str, str]) -> None:
    for field, text in texts.items():
        if field in fields and "description" not in fields[field]:
            fields[field] = {**fields[field], "description": text}


def _texts(structs: dict[str, type]) -> dict[str, dict[str, str]]:
    """What stands below each field of these structs, read from their source."""
    texts: dict[str, dict[str, str]] = {}
    for module in {struct.__module__ for struct in structs.values()}:
        for node in ast.parse(inspect.getsource(sys.modules[module])).body:
            if isinstance(node, ast.ClassDef) and node.name in structs:
                texts[node.name] = _field_texts(node)
    return texts


def _field_texts(node: ast.ClassDef) -> dict[str, str]:
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
