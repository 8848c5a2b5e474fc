"""The types of the pinned Stripe SDK as JSON Schema: what a request may say, and what an object must look like.

The SDK's classes are generated from Stripe's own description of its API, so they are the one authority on fields that
can be had without the network. They are walked, never copied: another SDK gives another schema. What the SDK calls
optional may be absent or null; what it does not name is refused; of an open list of words only the known are taken.
Refuses nothing itself: `checking` compares values with a schema, and `forms` reads requests with one.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, Final, Literal, Union, cast

import stripe
import typing_extensions
from stripe import ListObject, StripeObject
from stripe._object_classes import OBJECT_CLASSES
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject
from stripe.events import _event_classes

Schema = dict[str, Any]

API_VERSION: Final = stripe.api_version
_NO_EVENT_CLASS: Final = {
    "billing_portal.session.created": "billing_portal.session",
    "invoice.upcoming": "invoice",
}
_OPTIONS: Final = frozenset(RequestOptions.__annotations__)
_PLAIN: Final[dict[object, Schema]] = {
    int: {"type": "integer"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    Any: {},
    object: {},
}


class Types:
    """The schemas of one installed SDK, made as they are asked for, and kept."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._classes: dict[str, type] = {}

    def of_object(self, kind: str) -> Schema:
        """Return the schema of an API object by what its `object` field says, such as "checkout.session".

        Raises KeyError when the SDK has no such object.
        """
        if kind == "event":
            return self.reference(_class_at("stripe._event", "Event"))
        return self.reference(_class_at(*OBJECT_CLASSES[kind]))

    def of_params(self, name: str) -> Schema:
        """Return the schema of a request by its class in `stripe.params`, such as "checkout.SessionCreateParams"."""
        folder, _, last = name.rpartition(".")
        module = importlib.import_module(f"stripe.params.{folder}" if folder else "stripe.params")
        return self.reference(getattr(module, last))

    def reference(self, found: type) -> Schema:
        """Return the schema that names a class; its definition follows on demand."""
        name = f"{found.__module__}.{found.__qualname__}"
        self._classes[name] = found
        return {"$ref": f"#/$defs/{name}"}

    def definition(self, reference: Schema) -> Schema:
        """Return what a reference names."""
        name = reference["$ref"].removeprefix("#/$defs/")
        if name not in self.definitions:
            self.definitions[name] = self._define(self._classes[name])
        return self.definitions[name]

    def resolve(self, schema: Schema) -> Schema:
        """Return a schema that is no reference."""
        return self.definition(schema) if "$ref" in schema else schema

    def document(self, schemas: Iterable[Schema]) -> Schema:
        """Return one JSON Schema document with the definitions of all that these schemas lead to."""
        waiting, reached = list(schemas), dict[str, Schema]()
        while waiting:
            for reference in _references(waiting.pop()):
                name = reference["$ref"].removeprefix("#/$defs/")
                if name not in reached:
                    reached[name] = self.definition(reference)
                    waiting.append(reached[name])
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": reached}

    def _define(self, found: type) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for name, hint in _fields(found):
            is_optional, inner = _optional(hint)
            properties[name] = self.of(inner if not is_optional else hint)
            if not is_optional and _is_required(found, name):
                required.append(name)
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def of(self, hint: object) -> Schema:
        """Return the schema of a type."""
        origin: object = typing.get_origin(hint)
        arguments = typing.get_args(hint)
        if origin in {typing_extensions.NotRequired, typing_extensions.Required, typing.NotRequired, typing.Required}:
            return self.of(arguments[0])
        if origin in {Literal, typing_extensions.Literal}:
            return {"enum": list(arguments)}
        if origin in {Union, types.UnionType}:
            return self._union(arguments)
        if origin in {list, typing.Sequence}:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin in {dict, UntypedStripeObject}:
            return {"type": "object", "additionalProperties": self.of(arguments[-1])}
        if origin is ListObject:
            return self._listed(arguments[0])
        return self._single(hint)

    def _single(self, hint: object) -> Schema:
        if hint in _PLAIN:
            return _PLAIN[hint]
        if hint in {StripeObject, UntypedStripeObject, dict}:
            return {"type": "object"}
        if isinstance(hint, type) and (issubclass(hint, StripeObject) or typing_extensions.is_typeddict(hint)):
            return self.reference(hint)
        return {}

    def _union(self, arguments: tuple[object, ...]) -> Schema:
        schemas = [self.of(argument) for argument in arguments]
        words = [word for schema in schemas for word in schema.get("enum", ())]
        # A list of words beside any text means: more words may come. Here only what is known is taken.
        if any(word != "" for word in words):
            schemas = [schema for schema in schemas if schema != {"type": "string"}]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _listed(self, item: object) -> Schema:
        return {
            "type": "object",
            "properties": {
                "object": {"enum": ["list"]},
                "data": {"type": "array", "items": self.of(item)},
                "has_more": {"type": "boolean"},
                "url": {"type": "string"},
            },
            "required": ["object", "data", "has_more", "url"],
            "additionalProperties": False,
        }


@cache
def kind_in_event(type: str) -> str:
    """Return the kind of object that an event of a type carries, "" where the SDK does not tell.

    It tells where it types the thin twin of the event; two that matter here and have none are named above.
    """
    told = _event_classes._V2_EVENT_NOTIFICATION_CLASS_LOOKUP.get(f"v1.{type}")  # noqa: SLF001  # told nowhere else
    if told is None or type in _NO_EVENT_CLASS:
        return _NO_EVENT_CLASS.get(type, "")
    notification: Any = _class_at(f"stripe.events.{told[0].rpartition('.')[2]}", told[1])
    returned = str(notification.fetch_related_object.__annotations__["return"])
    carried = _scope(sys.modules[notification.__module__])[returned]
    return str(carried.OBJECT_NAME)


def _references(schema: object) -> Iterator[Schema]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema
        else:
            for value in schema.values():
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _class_at(module: str, name: str) -> type:
    return cast("type", getattr(importlib.import_module(module), name))


def _optional(hint: object) -> tuple[bool, object]:
    return type(None) in typing.get_args(hint) and typing.get_origin(hint) in {Union, types.UnionType}, hint


def _is_required(found: type, name: str) -> bool:
    keys: frozenset[str] | None = getattr(found, "__required_keys__", None)
    return keys is None or name in keys


def _fields(found: type) -> Iterator[tuple[str, object]]:
    """Yield each field of a class that travels, and its type."""
    told: dict[str, object] = dict(vars(found).get("__annotations__", {}))
    if typing_extensions.is_typeddict(found) and set(told) >= _OPTIONS:
        # A request's class brings the SDK's own options, which do not travel.
        told = {name: hint for name, hint in told.items() if name not in _OPTIONS}
    bare = type("_Bare", (), {"__annotations__": told})
    hints = typing_extensions.get_type_hints(bare, globalns=_scope(sys.modules[found.__module__]), include_extras=True)
    for name, hint in hints.items():
        origin: object = typing.get_origin(hint)
        if ClassVar not in {origin, hint} and not name.startswith("_"):
            yield name, hint


@cache
def _scope(module: types.ModuleType) -> dict[str, Any]:
    """Return the names of a module, those included that it imports for type checkers only."""
    scope = {**vars(builtins), **vars(module)}
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom) and statement.module:
                    source = importlib.import_module(statement.module)
                    scope |= {each.asname or each.name: getattr(source, each.name) for each in statement.names}
    return scope
