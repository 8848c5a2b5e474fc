"""Compare values with a schema of `schema`: every difference is told with the path to it.

Knows the words of JSON Schema that `schema` writes, and no others; the tests hold it to a validator that knows all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from callfare.devtools.fake_stripe.schema import Schema, Types

_PYTHON: Final[dict[str, type | tuple[type, ...]]] = {
    "integer": int,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "null": type(None),
    "object": dict,
    "array": list,
}


def violations(types: Types, schema: Schema, value: object, path: str = "") -> list[str]:
    """Return what is wrong with a value, empty when it conforms."""
    return list(_differences(types, schema, value, path))


def _differences(types: Types, schema: Schema, value: object, path: str) -> Iterator[str]:
    schema = types.resolve(schema)
    if "anyOf" in schema:
        yield from _best(types, schema["anyOf"], value, path)
    elif "enum" in schema:
        if not any(value == word and type(value) is type(word) for word in schema["enum"]):
            yield f"{path}: {value!r} is not among {schema['enum']}"
    elif "type" in schema:
        if not is_of(schema["type"], value):
            yield f"{path}: {value!r} is no {schema['type']}"
        elif isinstance(value, dict):
            yield from _fields(types, schema, value, path)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                yield from _differences(types, schema.get("items", {}), item, f"{path}[{number}]")
        elif isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} is not written as {schema['pattern']}"


def is_of(name: str, value: object) -> bool:
    """Tell whether a value has a JSON type; a boolean is no number."""
    if isinstance(value, bool) and name != "boolean":
        return False
    return isinstance(value, _PYTHON[name])


def _fields(types: Types, schema: Schema, value: dict[str, Any], path: str) -> Iterator[str]:
    properties: dict[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: missing"
    others = schema.get("additionalProperties", {})
    for name, inner in value.items():
        if name in properties:
            yield from _differences(types, properties[name], inner, f"{path}.{name}")
        elif others is False:
            yield f"{path}.{name}: the SDK has no such field"
        else:
            yield from _differences(types, others, inner, f"{path}.{name}")


def _best(types: Types, choices: list[Schema], value: object, path: str) -> Iterator[str]:
    """Yield the differences from the choice that fits best, none when one fits."""
    tried = [violations(types, choice, value, path) for choice in choices if _may_fit(types, choice, value)]
    if not tried:
        yield f"{path}: {value!r} is of none of the types it may be"
    else:
        yield from min(tried, key=len)


def _may_fit(types: Types, choice: Schema, value: object) -> bool:
    choice = types.resolve(choice)
    return "type" not in choice or is_of(choice["type"], value)
