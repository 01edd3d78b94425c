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
        for struct, texts in _texts(_structs(kinds)).items():
            plain = struct.__name__
            name = plain if plain in components else f"{struct.__module__}.{struct.__qualname__}"
            _describe(components[name]["properties"], texts)
        names = _readable(components)
        self.components = {names[name]: _renamed(schema, names) for name, schema in components.items()}
        self._made = dict(zip(kinds, [_renamed(schema, names) for schema in made], strict=True))

    def __getitem__(self, kind: Schema) -> dict[str, Any]:
        if isinstance(kind, tuple):
            return {"anyOf": [self[each] for each in kind]}
        schema: dict[str, Any] = kind if isinstance(kind, dict) else self._made[kind]
        return schema


def _readable(components: dict[str, Any]) -> dict[str, str]:
    """A struct that is private to its module is public here, and of two of one name each says whose it is."""
    names: dict[str, str] = {
        name: name for name in components if "." not in name and not name.startswith("_")
    }
    for name in components:
        if name not in names:
            *module, plain = name.replace("_", "").split(".")
            whose = module[-2].capitalize() if len(module) > 1 else ""
            names[name] = whose + plain if whose + plain not in names.values() else f"{whose}{plain}Input"
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


def _structs(kinds: Sequence[Schema]) -> set[type]:
    """Every struct in these types."""
    found: set[type] = set()
    todo = list(msgspec.inspect.multi_type_info(kinds))
    while todo:
        info: Any = todo.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls not in found:
                found.add(info.cls)
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


def _texts(structs: set[type]) -> dict[type, dict[str, str]]:
    """What stands below each field of these structs, read from their source."""
    texts: dict[type, dict[str, str]] = {}
    for module in {struct.__module__ for struct in structs}:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
        written = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for struct in structs:
            if struct.__module__ == module and struct.__name__ in written:
                texts[struct] = _field_texts(written[struct.__name__])
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
