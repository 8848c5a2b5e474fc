"""Writes convex/callfare/tables.ts from the rows of the ledger: `python -m callfare.devtools.convex_schema`.

Nobody edits that file: a test compares it with what this writes.
"""

from __future__ import annotations

from callfare.ledger.rows import TABLES
from callfare.store.convex_files import functions_folder
from callfare.store.convex_tables import Field, Layout, fingerprint, layout_of, schema_number

_HEAD = """\
// The tables of the ledger, written from its rows by `python -m callfare.devtools.convex_schema`. Not edited by hand.
// Amounts are nanocredits or picodollars, instants are microseconds since 1970 in UTC. `seal` is a digest of the row.
import { defineTable } from "convex/server";
import { v } from "convex/values";

// Functions and client must mean the same by a row: a client with another layout is refused.
"""
_TEXT, _WHOLE = (f"v.optional(v.union(v.{kind}(), v.null()))" for kind in ("string", "int64"))
# Fields of the specification that follow from rows: kept beside them, outside of their seals. What is added once there
# are deployments is optional, for Convex takes no schema that the rows it has do not fit.
_DERIVED = {
    "users": [
        "creditsBalance: v.string()",
        f"subscriptionId: {_TEXT}",
        f"subscriptionPlan: {_TEXT}",
        f"subscriptionStatus: {_TEXT}",
        f"subscriptionPeriodEnd: {_WHOLE}",
    ],
    "workflowRuns": ['userId: v.id("users")', "totalCostCents: v.string()"],
    "usageEvents": [
        'userId: v.id("users")',
        f"inputTokens: {_WHOLE}",
        f"outputTokens: {_WHOLE}",
        f"durationSeconds: {_TEXT}",
        "costCents: v.string()",
    ],
    "transactions": ['userId: v.id("users")', f"credits: {_TEXT}", f"amountCents: {_WHOLE}"],
}
_OWN = """\
  // Whether there is a ledger, its schema, what it is being filled from until it is whole, and who wrote this last.
  ledgerState: defineTable({
    schema: v.int64(),
    source: v.union(v.string(), v.null()),
    mark: v.string(),
    by: v.string(),
  }),
  // Readings of everything at one instant that are under way; writes keep for them what they change.
  readings: defineTable({
    name: v.string(),
    endsAtUs: v.int64(),
  }).index("byName", ["name"]),
  // Rows as they stood when a reading began; `values` is null for one that was not there.
  earlierRows: defineTable({
    reading: v.string(),
    table: v.string(),
    key: v.array(v.union(v.int64(), v.string())),
    values: v.union(v.array(v.union(v.int64(), v.string(), v.null())), v.null()),
  }).index("byKey", ["reading", "table", "key"]),
"""


def written() -> str:
    """Return the text of tables.ts."""
    layouts = [layout_of(table) for table in TABLES]
    parts = [
        _HEAD,
        f'export const LAYOUT = "{fingerprint()}";\n',
        f"export const SCHEMA = {schema_number()}n;\n\n",
        "// How a row comes over the wire: the values of its fields in this order, then its seal.\n",
        "export const TABLES = {\n",
        *(_told(layout) for layout in layouts),
        "} as const;\n\n",
        "export type TableName = keyof typeof TABLES;\n\n",
        "// Spread into the schema of the deployment.\n",
        "export const callfareTables = {\n",
        *(_defined(layout) for layout in layouts),
        _OWN,
        "};\n",
    ]
    return "".join(parts)


def _told(layout: Layout) -> str:
    names = "".join(f'      "{field.name}",\n' for field in layout.fields)
    indexes = "".join(f"      {name}: {_texts(fields)},\n" for name, fields in layout.indexes.items())
    return (
        f"  {layout.name}: {{\n    fields: [\n{names}    ],\n    keySize: {layout.key_size},\n"
        f"    isHistory: {'true' if layout.is_history else 'false'},\n    indexes: {{\n{indexes}    }},\n  }},\n"
    )


def _defined(layout: Layout) -> str:
    fields = "".join(f"    {field.name}: {_validator(field)},\n" for field in layout.fields)
    derived = "".join(f"    {text},\n" for text in _DERIVED.get(layout.name, []))
    indexes = "".join(f'\n    .index("{name}", {_texts(names)})' for name, names in layout.indexes.items())
    return f"  {layout.name}: defineTable({{\n{fields}    seal: v.int64(),\n{derived}  }}){indexes},\n"


def _validator(field: Field) -> str:
    plain = "v.int64()" if field.is_integer else "v.string()"
    return f"v.union({plain}, v.null())" if field.is_nullable else plain


def _texts(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def main() -> None:
    """Write the file."""
    file = functions_folder() / "callfare" / "tables.ts"
    file.write_text(written(), encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
