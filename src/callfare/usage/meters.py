"""The units callfare counts, read once from meters.toml. Refuses to load a tree with a loop or a missing parent."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A counted unit. Its quantity is a part of its parent's; `parent` is None for a root.

    keeps_zero: none of it says something, which is not the same as saying nothing of it.
    """

    name: str
    parent: str | None
    unit: str
    description: str
    is_whole: bool = True
    keeps_zero: bool = False


def _read_meters(rows: list[dict[str, Any]]) -> Mapping[str, Meter]:
    """Return the meters by name, in the order of the file. Parents stand before their children, so no loop can."""
    meters: dict[str, Meter] = {}
    for row in rows:
        parent = row.get("parent")
        assert parent is None or parent in meters, f"meters.toml: {row['name']} stands before its parent {parent}"
        assert row["name"] not in meters, f"meters.toml: {row['name']} stands twice"
        meters[row["name"]] = Meter(
            name=row["name"],
            parent=parent,
            unit=row["unit"],
            description=row["description"],
            is_whole=row.get("whole", True),
            keeps_zero=row.get("keeps_zero", False),
        )
    return MappingProxyType(meters)


def _lineage(name: str) -> tuple[str, ...]:
    """Return the meter and its ancestors, nearest first."""
    chain = [name]
    while (parent := METERS[chain[-1]].parent) is not None:
        chain.append(parent)
    return tuple(chain)


_TABLE = tomllib.loads(files("callfare.usage").joinpath("meters.toml").read_text(encoding="utf-8"))

METERS: Mapping[str, Meter] = _read_meters(_TABLE["meter"])
"""Every meter by name, parents before children."""

ATTRIBUTES: Mapping[str, str] = MappingProxyType({row["name"]: row["description"] for row in _TABLE["attribute"]})
"""Every attribute that capture reports, with its description. Price books may use others beside them."""

LINEAGE: Mapping[str, tuple[str, ...]] = MappingProxyType({name: _lineage(name) for name in METERS})
"""Each meter with itself and its ancestors, nearest first."""
