"""What a deployment and a callfare of different ages say to each other, and what brings them together."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from callfare.devtools.convex_schema import written
from callfare.errors import Misconfigured, SchemaNewer, SchemaOlder
from callfare.store.convex_files import functions_folder
from callfare.store.convex_tables import fingerprint, schema_number
from callfare.store.open import open_store
from tests.convex.test_commands import callfare
from tests.support.commands import grant
from tests.support.convex import running_bridge

# The fields of every table as they were first deployed, with their validators.
DEPLOYED = json.loads((Path(__file__).parent / "deployed.json").read_text(encoding="utf-8"))


def fields_of(text):
    """Return the fields that the text of tables.ts gives each table, with their validators."""
    tables = re.findall(r"^  (\w+): defineTable\(\{\n(.*?)^  \}\)", text, re.DOTALL | re.MULTILINE)
    return {name: dict(re.findall(r"^    (\w+): (.*),$", fields, re.MULTILINE)) for name, fields in tables}


def undeployable(text):
    """Return what keeps a deployment that has rows from taking the schema: Convex compares every row with it."""
    now = fields_of(text)
    changed = {
        f"{table}.{field}"
        for table, fields in DEPLOYED.items()
        for field, validator in fields.items()
        if now.get(table, {}).get(field) != validator
    }
    added = {
        f"{table}.{field}"
        for table, fields in DEPLOYED.items()
        for field, validator in now.get(table, {}).items()
        if field not in fields and not validator.startswith("v.optional(")
    }
    return changed | added


def test_a_deployment_that_has_rows_takes_the_schema_of_today():
    """Add fields to a table that there is as optional ones, and fill them in; or begin a table beside it."""
    assert undeployable(written()) == set()


@pytest.mark.parametrize(
    ("line", "others", "blame"),
    [
        ("    email: v.union(v.string(), v.null()),\n", "", "users.email"),
        ("    email: v.union(v.string(), v.null()),\n", "    email: v.string(),\n", "users.email"),
        (
            "    openedAtUs: v.int64(),\n",
            "    openedAtUs: v.int64(),\n    closedAtUs: v.int64(),\n",
            "accounts.closedAtUs",
        ),
    ],
)
def test_a_schema_that_rows_do_not_fit_is_noticed(line, others, blame):
    assert blame in undeployable(written().replace(line, others, 1))


def with_functions_of(tmp_path, *changes):
    """Return the environment of a bridge whose functions differ in some words."""
    folder = tmp_path / "functions"
    shutil.copytree(functions_folder(), folder)
    file = folder / "callfare" / "tables.ts"
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    return {"CALLFARE_FUNCTIONS": str(folder)}


OLDER = [(f"SCHEMA = {schema_number()}n", f"SCHEMA = {schema_number() - 1}n"), (fingerprint(), "0123456789abcdef")]
NEWER = [(f"SCHEMA = {schema_number()}n", f"SCHEMA = {schema_number() + 1}n"), (fingerprint(), "0123456789abcdef")]


@pytest.mark.all
@pytest.mark.parametrize(("changes", "advice"), [(OLDER, "npx convex deploy.* migrate"), (NEWER, "upgrade callfare")])
def test_functions_of_another_callfare_do_nothing_and_say_what_to_do(tmp_path, changes, advice):
    with running_bridge(**with_functions_of(tmp_path, *changes)) as bridge:
        address = bridge.new_ledger()
        store = open_store(address)

        for used in (store.create, lambda: store.apply([grant("alice", 1)]), lambda: store.snapshot("alice")):
            with pytest.raises(Misconfigured, match=advice):
                used()
        done = callfare("--db", address, "migrate", cwd=tmp_path)

        assert done.returncode == 7
        assert re.search(advice, " ".join(done.stderr.split()))
        assert bridge.documents(address, "ledgerState") == []
        store.close()


@pytest.mark.all
def test_after_a_deployment_migrate_brings_the_ledger_to_the_functions_schema(bridge, address, books, tmp_path):
    books.do(grant("alice", 100))
    bridge.documents(address, "ledgerState", schema=schema_number() - 1)

    with pytest.raises(SchemaOlder, match="callfare migrate"):
        books.balance()
    with pytest.raises(SchemaOlder, match="callfare migrate"):
        books.do(grant("alice", 1, key="too early"))
    looked = callfare("--db", address, "migrate", "--check", cwd=tmp_path)
    done = callfare("--db", address, "migrate", cwd=tmp_path)
    again = callfare("--db", address, "migrate", cwd=tmp_path)

    assert (looked.returncode, done.returncode, again.returncode) == (7, 0, 0)
    assert f"the schema went from {schema_number() - 1} to {schema_number()}" in done.stdout
    assert "the newest" in again.stdout
    assert books.balance().posted == "100"


@pytest.mark.all
def test_a_ledger_of_a_newer_schema_is_left_alone(bridge, address, books, tmp_path):
    books.do(grant("alice", 100))
    bridge.documents(address, "ledgerState", schema=schema_number() + 1)

    with pytest.raises(SchemaNewer, match="upgrade callfare"):
        books.do(grant("alice", 1, key="too late"))
    done = callfare("--db", address, "migrate", cwd=tmp_path)

    assert done.returncode == 7
    assert "upgrade callfare" in " ".join(done.stderr.split())
    assert [state["schema"] for state in bridge.documents(address, "ledgerState")] == [schema_number() + 1]
    bridge.documents(address, "ledgerState", schema=schema_number())
