"""Workflows as data: from mappings that code gives, and from a file that the server and the command line read too.

A file is TOML: `[[workflow]]` with name, low and high in credits or `[[workflow.part]]`, and on_failure. Refuses what
could be misread: unknown fields, a name that is there twice, what is no such file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from callfare.checks import check_text, check_whole
from callfare.errors import CallfareError, InvalidInput, Misconfigured
from callfare.estimate.workflows import Part, Workflow, check_workflow
from callfare.money import Credits
from callfare.pricing.book import PriceBook
from callfare.usage.quantities import check_attributes, check_usage

WORKFLOWS_VARIABLE = "CALLFARE_WORKFLOWS_FILE"
_PART_NEEDS = {"model", "usage"}
_PART_NAMES = _PART_NEEDS | {"attributes", "at_least", "at_most"}
_PART_CALLS_MAX = 1_000_000
_FIELDS = {"name", "low", "high", "part", "on_failure"}


def workflow_of(
    name: str,
    *,
    low: Credits | int | Decimal | str | None,
    high: Credits | int | Decimal | str | None,
    parts: Iterable[Mapping[str, Any]],
    on_failure: str,
    book: PriceBook,
) -> Workflow:
    """Return a kind of run as it is declared.

    parts: mappings of model, usage, attributes, at_least and at_most.

    Raises InvalidAmount, InvalidInput.
    """
    if isinstance(parts, str | bytes | Mapping) or not isinstance(parts, Iterable):
        raise InvalidInput(f"parts is {type(parts).__name__}; give a list of mappings", param="parts")
    workflow = Workflow(
        name=name,
        low=None if low is None else Credits(low),
        high=None if high is None else Credits(high),
        parts=tuple(_part(part, book) for part in parts),
        on_failure=on_failure,
    )
    check_workflow(workflow)
    return workflow


def _part(part: object, book: PriceBook) -> Part:
    if not isinstance(part, Mapping) or not _PART_NEEDS <= part.keys() <= _PART_NAMES:
        raise InvalidInput(
            "a part is a mapping with model and usage, and with attributes, at_least and at_most where they matter",
            param="parts",
        )
    at_least = check_whole(part.get("at_least", 1), "at_least", least=0, most=_PART_CALLS_MAX)
    return Part(
        model=check_text(part["model"], "model"),
        usage=check_usage(part["usage"]),
        attributes=check_attributes(part.get("attributes", {}), also=book.attribute_names),
        at_least=at_least,
        at_most=check_whole(part.get("at_most", at_least), "at_most", least=at_least, most=_PART_CALLS_MAX),
    )


def load_workflows(path: Path, book: PriceBook) -> tuple[Workflow, ...]:
    """Return the workflows of a file.

    Raises Misconfigured, naming the one that cannot be declared.
    """
    try:
        # A decimal is taken as exactly what the file says.
        told = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, ValueError, ArithmeticError, RecursionError) as error:
        raise Misconfigured(f"{path} cannot be read as a file of workflows: {error}") from None
    entries = told.get("workflow", [])
    if told.keys() - {"workflow"} or not isinstance(entries, list) or not all(type(entry) is dict for entry in entries):
        raise Misconfigured(f"{path}: write each workflow as [[workflow]], and nothing else")
    workflows = [_read(path, entry, book) for entry in entries]
    names = [workflow.name for workflow in workflows]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        raise Misconfigured(f"{path}: {f'{repeated[0]!r} is there twice' if repeated else 'it has no workflow'}")
    return tuple(workflows)


def _read(path: Path, entry: dict[str, Any], book: PriceBook) -> Workflow:
    where = f"{path}: workflow {entry.get('name')!r}"
    unknown = entry.keys() - _FIELDS
    if unknown:
        raise Misconfigured(f"{where} has no {min(unknown)!r}; there are {', '.join(sorted(_FIELDS))}")
    try:
        return workflow_of(
            check_text(entry.get("name"), "name"),
            low=entry.get("low"),
            high=entry.get("high"),
            parts=entry.get("part", []),
            on_failure=entry.get("on_failure", "charge"),
            book=book,
        )
    except CallfareError as error:
        raise Misconfigured(f"{where}: {error.message}") from None
