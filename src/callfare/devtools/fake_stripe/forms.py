"""Requests as the API reads them: bracketed form fields, given their types by the schema of the call.

Everything arrives as text, so the schema decides what it is. What the schema does not name is refused as at Stripe,
with `parameter_unknown` and the parameter's name. Bodies that are no UTF-8 and names nested past reason are refused.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl

from callfare.devtools.fake_stripe.refusals import Json, Refusal, invalid, missing_param, unknown_param
from callfare.devtools.fake_stripe.schema import Schema, Types

_DEEPEST: Final = 12
_FIELDS_MAX: Final = 5_000
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def nested(body: bytes) -> Json:
    """Return the fields of a form or a query as objects and text; a list is an object whose keys are numbers.

    Raises Refusal when it cannot be read.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX)
    except (UnicodeDecodeError, ValueError):
        raise invalid("Invalid request: the parameters cannot be read as a form in UTF-8.") from None
    tree: Json = {}
    for name, text in pairs:
        keys = [key.removesuffix("]") for key in name.split("[")]
        if len(keys) > _DEEPEST:
            raise invalid(f"Invalid parameter name: {name[:100]}")
        if "\x00" in text:
            raise invalid("Invalid request: text must not contain NUL.", param=name)
        _put(tree, keys, text)
    return tree


def _put(tree: Json, keys: list[str], text: str) -> None:
    key, rest = keys[0], keys[1:]
    if key == "":
        # `a[][b]=1&a[][c]=2` is one element; a name that comes again begins the next.
        last = len(tree) - 1
        current = tree.get(str(last))
        is_same = bool(rest) and isinstance(current, dict) and rest[0] not in current
        key = str(last if is_same else last + 1)
    if not rest:
        tree[key] = text
        return
    inner = tree.setdefault(key, {})
    if not isinstance(inner, dict):
        raise invalid(f"Invalid {key}: it is given both as a value and as an object.", param=key)
    _put(inner, rest, text)


def typed(types: Types, schema: Schema, fields: Json) -> Json:
    """Return a request's fields as what they mean.

    Raises Refusal for the first that is unknown, missing or of another type.
    """
    read: Json = _read(types, schema, fields, "")
    return read


def _read(types: Types, schema: Schema, value: Any, path: str) -> Any:  # noqa: ANN401  # any JSON
    schema = types.resolve(schema)
    if "anyOf" in schema:
        return _first(types, schema["anyOf"], value, path)
    if "enum" in schema:
        return _word(schema["enum"], value, path)
    match schema.get("type"):
        case "object":
            return _object(types, schema, value, path)
        case "array":
            return _array(types, schema, value, path)
        case str(kind):
            return _scalar(kind, value, path)
        case _:
            return value


def _object(types: Types, schema: Schema, value: object, path: str) -> Json:
    if value == "" and path:
        value = {}
    if not isinstance(value, dict):
        raise invalid(f"Invalid {_outer(path)}: must be an object", param=path)
    properties: dict[str, Schema] = schema.get("properties", {})
    others: Any = schema.get("additionalProperties", {})
    read = {}
    for name, inner in value.items():
        here = f"{path}[{name}]" if path else name
        if name not in properties and others is False:
            raise unknown_param(here)
        read[name] = _read(types, properties.get(name, others), inner, here)
    for name in schema.get("required", ()):
        if name not in read:
            raise missing_param(f"{path}[{name}]" if path else name)
    return read


def _array(types: Types, schema: Schema, value: object, path: str) -> list[Any]:
    if value == "":
        return []
    if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
        raise invalid(f"Invalid array: {_outer(path)}", param=path)
    items = [value[key] for key in sorted(value, key=int)]
    return [_read(types, schema["items"], inner, f"{path}[{number}]") for number, inner in enumerate(items)]


def _scalar(kind: str, value: object, path: str) -> object:
    if not isinstance(value, str):
        raise invalid(f"Invalid {kind}: {_outer(path)} must not be nested", param=path)
    if kind == "integer":
        if not _INTEGER.fullmatch(value):
            raise invalid(f"Invalid integer: {value[:100]}", param=path, code="parameter_invalid_integer")
        return int(value)
    if kind == "boolean":
        if value not in {"true", "false"}:
            raise invalid(f"Invalid boolean: {value[:100]}", param=path)
        return value == "true"
    if kind == "number":
        if not _NUMBER.fullmatch(value):
            raise invalid(f"Invalid decimal: {value[:100]}", param=path)
        return float(value)
    return value


def _word(words: list[object], value: object, path: str) -> object:
    for word in words:
        if value == (str(word).lower() if isinstance(word, bool) else str(word)):
            return word
    told = ", ".join(str(word) for word in words if word != "")
    raise invalid(f"Invalid {path}: must be one of {told}", param=path)


def _first(types: Types, choices: list[Schema], value: Any, path: str) -> Any:  # noqa: ANN401  # any JSON
    """Return what the first fitting choice makes of a value; else the complaint that goes deepest."""
    refused: list[Refusal] = []
    for choice in sorted(choices, key=lambda each: types.resolve(each).get("type") == "string"):
        try:
            return _read(types, choice, value, path)
        except Refusal as refusal:
            refused.append(refusal)
    raise max(refused, key=lambda refusal: len(str(refusal.error.get("param", ""))))


def _outer(path: str) -> str:
    return path or "request"
