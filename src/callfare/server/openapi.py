"""The description of the API: every operation with its body, its examples, its rule, and the one error shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from callfare.engine.exported import KINDS
from callfare.errors import CallfareError
from callfare.server.examples import EXAMPLES
from callfare.server.rules import RULES, Door
from callfare.server.wire.base import Problem

_PATH_PARTS = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{model}"
_WORDS = {
    400: "The input cannot be accepted.",
    401: "No credential that holds.",
    402: "The credit does not cover it; nothing was written.",
    403: "The credential does not reach that far.",
    404: "What was named is not there.",
    405: "Not under this method.",
    409: "Contradicts what is already recorded.",
    413: "The body is above 1 MiB.",
    415: "The body is no JSON.",
    421: "Not a host of this server.",
    422: "What was named has no price.",
    429: "Too many credentials did not hold.",
    500: "A fault of the server.",
    503: "The ledger, or what else is needed, does not answer now; repeat with the same key.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[!-~]([ -~]*[!-~])?$"},
    "description": "Names this request: a repeat gets the first answer, another body a conflict.",
}


def described(
    app: FastAPI,
    statuses: Iterable[tuple[type[CallfareError], int]],
    bodies: Mapping[tuple[str, str], TypeAdapter[Any]],
) -> dict[str, Any]:
    """Return the OpenAPI description of an application. bodies: what routes ask for, by method and path."""
    found = get_openapi(title="callfare", version=app.version, routes=app.routes, description=_ABOUT)
    schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _add_schema(TypeAdapter(Problem), schemas)
    found["components"]["responses"] = {
        str(status): {
            "description": _WORDS[status],
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Problem")}}},
        }
        for status in sorted({status for _, status in statuses})
    }
    found["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key (cf_…) or a user's token."}
    }
    refusals = {status: {"$ref": f"#/components/responses/{status}"} for status in found["components"]["responses"]}
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            _complete(method.upper(), path, operation)
            operation["responses"] |= refusals
            if (method.upper(), path) in bodies:
                schema = _add_schema(bodies[method.upper(), path], schemas)
                examples = {name: {"value": value} for name, value in EXAMPLES[method.upper(), path].items()}
                content = {"application/json": {"schema": schema, "examples": examples}}
                operation["requestBody"] = {"required": True, "content": content}
    return found


def _complete(method: str, path: str, operation: dict[str, Any]) -> None:
    rule = RULES[method, path]
    operation["responses"].pop("422", None)
    if rule.door is not Door.OPEN:
        operation["security"] = [{"bearer": []}]
        operation["x-scopes"] = [*rule.scopes, *([rule.own] if rule.own else [])]
    parameters = operation.setdefault("parameters", [])
    for name in _PATH_PARTS.findall(path):
        schema = {"type": "string", "minLength": 1, "maxLength": 255}
        schema |= {"enum": list(KINDS)} if name == "kind" else {}
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    if method == "POST":
        parameters.append(_KEY)


def _add_schema(kind: TypeAdapter[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    schema = kind.json_schema(ref_template=_REF)
    schemas |= schema.pop("$defs", {})
    title = schema.get("title")
    if title is None or "properties" not in schema:
        return schema
    schemas[title] = schema
    return {"$ref": _REF.format(model=title)}


_ABOUT = """Meters, prices and charges every AI call, against prepaid credits that are held before a run starts.

Amounts are exact decimal text with their unit in the name; a credit is one cent of list cost. Times are RFC 3339."""
