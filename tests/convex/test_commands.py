"""The commands about Convex: functions for a project, the suite on one's own deployment, where the address is from."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from callfare.store.convex_files import functions_folder
from callfare.store.open import open_store
from tests.support.commands import grant
from tests.support.convex import running_bridge

FILES = sorted(path.name for path in (functions_folder() / "callfare").glob("*.ts"))


def callfare(*words, cwd, **environment):
    """Run a command as a process, with nothing of ours in the environment but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CALLFARE_", "CONVEX_"))}
    return subprocess.run(
        [sys.executable, "-m", "callfare", *words],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_init_copies_the_functions_and_a_schema(tmp_path):
    done = callfare("convex", "init", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "convex" / "callfare").iterdir()) == FILES
    assert "callfareTables" in (tmp_path / "convex" / "schema.ts").read_text(encoding="utf-8")


def test_init_writes_the_functions_anew_and_keeps_a_schema_of_ones_own(tmp_path):
    (tmp_path / "mine" / "callfare").mkdir(parents=True)
    (tmp_path / "mine" / "schema.ts").write_text("export default {};", encoding="utf-8")
    (tmp_path / "mine" / "callfare" / "door.ts").write_text("// of an older callfare", encoding="utf-8")

    done = callfare("convex", "init", "mine", cwd=tmp_path)

    assert "schema.ts is yours" in done.stdout
    assert (tmp_path / "mine" / "schema.ts").read_text(encoding="utf-8") == "export default {};"
    assert "CALLFARE_CONVEX_SECRET" in (tmp_path / "mine" / "callfare" / "door.ts").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("convex", "deploy"), 2),
        (("conformance",), 2),
        (("--db", "sqlite:///callfare.db", "conformance"), 2),
        (("--db", "convex://", "conformance"), 7),
        (("migrate-store", "memory://", "sqlite:///b.db"), 2),
        (("migrate-store", "sqlite:///a.db", "https://example.com"), 2),
        (("migrate-store", "sqlite:///missing.db", "sqlite:///b.db"), 4),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path, words, code):
    done = callfare(*words, cwd=tmp_path)

    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.all
def test_the_suite_runs_on_a_deployment_that_is_there_to_be_thrown_away(tmp_path):
    with running_bridge(CALLFARE_CONVEX_THROWAWAY="yes") as bridge:
        address = bridge.new_ledger()
        words = "test_filling or test_a_run_that_costs or below_the_hold"
        done = callfare("--db", address, "conformance", "--only", words, cwd=tmp_path)

        assert done.returncode == 0, done.stderr + done.stdout
        assert "the suite passed" in done.stdout
        assert "skipped" not in done.stderr


@pytest.mark.all
def test_the_suite_refuses_a_ledger_with_rows_and_one_that_is_to_last(tmp_path, bridge, address):
    lasting = callfare("--db", address, "conformance", cwd=tmp_path)
    store = open_store(address)
    store.apply([grant("alice", 100)])
    used = callfare("--db", address, "conformance", cwd=tmp_path)

    assert (lasting.returncode, used.returncode) == (7, 5)
    assert "CALLFARE_CONVEX_THROWAWAY" in lasting.stderr
    assert store.snapshot("alice") is not None
    store.close()


@pytest.mark.all
def test_the_command_line_takes_the_address_from_the_specifications_file(tmp_path, address):
    place, _, name = address.rpartition("@")[2].partition("/")
    lines = [f"NEXT_PUBLIC_CONVEX_URL=http://{place}/{name}", 'CALLFARE_CONVEX_SECRET="a secret of the bridge alone"']
    (tmp_path / ".env.local").write_text("\n".join(lines), encoding="utf-8")

    granted = callfare("--db", "convex://", "grant", "alice", "100", cwd=tmp_path)
    other = callfare("balance", "alice", cwd=tmp_path)

    assert granted.returncode == 0, granted.stderr
    assert other.returncode == 4
