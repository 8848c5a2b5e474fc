"""`callfare import`: every row recorded once, its fate told, and nothing lost when it is cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callfare import Callfare, Credits
from callfare.cli import app
from callfare.engine.on_behalf import OnBehalf

ROW = {"user": "alice", "model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}
CSV = """\
user,model,input_tokens,output_tokens,images,attributes.size,at,response_id,metadata
alice,gpt-5-mini,1200,350,,,2026-02-20T10:00:00Z,,
alice,gpt-image-1,,,2,1024x1536,2026-02-20T10:01:00+01:00,resp_1,"{""post"": 7}"
"""


@pytest.fixture
def ledger(cli):
    cli.text("init")


def write(folder, name, rows):
    """Write a file, rows that are no text as lines of JSON."""
    if not isinstance(rows, str):
        rows = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows)
    (folder / name).write_bytes(rows.encode("utf-8", "surrogateescape"))
    return name


def told(folder, name="fates.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def calls():
    with Callfare("sqlite:///callfare.db") as fare:
        assert fare.verify().is_clean
        return sum(row.calls for row in fare.usage("alice", "all").by_model)


def test_a_table_is_recorded_row_by_row_at_its_own_times(cli, folder, ledger):
    done = cli.json("import", write(folder, "march.csv", CSV), "--fates", "fates.jsonl")

    assert (done["recorded"], done["refused"], done["credits"], done["cost"]) == (2, 0, "16.039", "0.16039")
    first, second = told(folder)
    assert (first["row"], first["fate"], first["credits"]) == (1, "recorded", "0.039")
    explained = cli.json("explain", second["charge"])["call"]
    assert (explained["response_id"], explained["metadata"], explained["at"]) == (
        "resp_1",
        {"post": 7},
        "2026-02-20T09:01:00Z",
    )
    assert (explained["usage"], explained["attributes"]) == ({"images": 2}, {"size": "1024x1536"})


def test_lines_of_json_say_the_same(cli, folder, ledger):
    rows = [
        {"user": "alice", "model": "gpt-5-mini", "usage": {"input_tokens": 1200, "output_tokens": "350"}},
        {"user": "alice", "model": "whisper-1", "usage": {"audio_seconds": 61.5}, "key": "mine"},
    ]

    done = cli.json("import", write(folder, "march.jsonl", rows))

    assert (done["recorded"], done["credits"]) == (2, "0.654")


def test_a_file_that_is_read_again_records_what_was_added_to_it(cli, folder, ledger):
    cli.json("import", write(folder, "log.jsonl", [ROW] * 3))

    again = cli.json("import", write(folder, "log.jsonl", [ROW] * 5))

    assert (again["repeated"], again["recorded"], again["credits"]) == (3, 2, "8")
    assert calls() == 5


def test_another_file_of_the_same_name_is_told_and_not_taken_for_the_first(cli, folder, ledger):
    cli.json("import", write(folder, "log.jsonl", [ROW]))
    other = write(folder, "log.jsonl", [ROW | {"usage": {"images": 2}}])

    found = cli.json("import", other, exit_code=2)
    named = cli.json("import", other, "--name", "the second log")

    assert [refused["code"] for refused in found["refusals"]] == ["key_conflict"]
    assert named["recorded"] == 1


def test_rows_of_a_run_are_charged_to_it(cli, folder, ledger):
    with Callfare("sqlite:///callfare.db") as fare:
        fare.grant("alice", 100, key="k")
        fare.open_run("tweet", user="alice", run_id="r1", hold=20)

    cli.json("import", write(folder, "a.jsonl", [{**ROW, "run_id": "r1"}, {**ROW, "user": None, "run_id": "r1"}]))

    assert len(cli.json("calls", "r1")["items"]) == 2


REFUSED_LINES = {
    "no JSON": ("{", "invalid_input"),
    "a list": ("[]", "invalid_input"),
    "no model": ('{"user": "alice", "usage": {}}', "invalid_input"),
    "an unknown name": (json.dumps({**ROW, "userId": "alice"}), "invalid_input"),
    "nobody": (json.dumps({**ROW, "user": None}), "invalid_input"),
    "a user of no text": (json.dumps({**ROW, "user": 5}), "invalid_input"),
    "an empty user": (json.dumps({**ROW, "user": ""}), "invalid_user"),
    "NUL": (json.dumps({**ROW, "user": "a\0"}), "invalid_user"),
    "half a character": ('{"user":"\\ud800","model":"m","usage":{}}', "invalid_input"),
    "no UTF-8": ('{"user":"\udcff","model":"m","usage":{}}', "invalid_input"),
    "less than nothing": (json.dumps({**ROW, "usage": {"images": -1}}), "invalid_quantity"),
    "NaN": ('{"user":"alice","model":"m","usage":{"images":NaN}}', "invalid_input"),
    "a quantity of text": (json.dumps({**ROW, "usage": {"images": "many"}}), "invalid_quantity"),
    "beyond all numbers": ('{"user":"alice","model":"m","usage":{"images":1e999999}}', "invalid_quantity"),
    "an unknown meter": (json.dumps({**ROW, "usage": {"pixels": 1}}), "unknown_meter"),
    "a time without a zone": (json.dumps({**ROW, "at": "2026-02-20T10:00:00"}), "invalid_input"),
    "a time to come": (json.dumps({**ROW, "at": "2126-02-20T10:00:00Z"}), "invalid_time"),
    "a run nobody opened": (json.dumps({**ROW, "run_id": "none"}), "run_not_found"),
    "far too deep": ('{"user":"alice","model":"m","usage":' + '{"a":' * 20_000 + "1" + "}" * 20_001, "invalid_input"),
    "far too long": (json.dumps({**ROW, "metadata": {"a": "x" * 2_000_000}}), "invalid_input"),
    "more metadata than is kept": (json.dumps({**ROW, "metadata": {"a": "x" * 20_000}}), "invalid_metadata"),
}


@pytest.mark.parametrize(("line", "code"), REFUSED_LINES.values(), ids=REFUSED_LINES)
def test_a_line_that_cannot_be_taken_is_refused_by_itself(cli, folder, ledger, line, code):
    done = cli.json("import", write(folder, "a.jsonl", [ROW, line, ROW]), "--fates", "fates.jsonl", exit_code=2)

    assert (done["recorded"], done["refused"]) == (2, 1)
    assert [refused["code"] for refused in done["refusals"]] == [code]
    assert [(fate["row"], fate["fate"]) for fate in told(folder)] == [(1, "recorded"), (2, "refused"), (3, "recorded")]
    assert calls() == 2


HEAD = "user,model,images,attributes.size\n"
REFUSED_RECORDS = {
    "too few cells": "alice,gpt-image-1",
    "too many cells": "alice,gpt-image-1,1,1024x1024,more",
    "a quote in the middle": 'alice,"gpt"-image-1,1,1024x1024',
    "no UTF-8": "alice,gpt-image-1\udcff,1,1024x1024",
    "NUL": "alice,gpt-image-1\0,1,1024x1024",
    "no quantity": "alice,gpt-image-1,one,1024x1024",
}


@pytest.mark.parametrize("record", REFUSED_RECORDS.values(), ids=REFUSED_RECORDS)
def test_a_record_that_cannot_be_taken_is_refused_by_itself(cli, folder, ledger, record):
    good = "alice,gpt-image-1,1,1024x1024"

    done = cli.json("import", write(folder, "a.csv", f"{HEAD}{good}\n{record}\n{good}\n"), exit_code=2)

    assert (done["recorded"], [refused["row"] for refused in done["refusals"]]) == (2, [2])
    assert calls() == 2


def test_a_line_that_is_too_long_is_refused_by_itself(cli, folder, ledger):
    table = f"user,model,input_tokens\nalice,gpt-5-mini,1\nalice,{'x' * 2_000_000},1\nalice,gpt-5-mini,2\n"

    done = cli.json("import", write(folder, "march.csv", table), exit_code=2)

    assert (done["recorded"], [(one["row"], one["line"]) for one in done["refusals"]]) == (2, [(2, 3)])


def test_rows_keep_their_names_when_one_that_was_broken_is_put_right(cli, folder, ledger):
    sound = ["user,model,input_tokens", *(f"alice,gpt-5-mini,{count}" for count in range(1, 9))]
    # The quotation mark of the second row takes the rows up to the fifth into it.
    broken = [*sound[:2], 'alice,"gpt-5-mini,2', *sound[3:5], 'al"ice,gpt-5-mini,5', *sound[6:]]
    first = cli.json("import", write(folder, "march.csv", "".join(f"{line}\n" for line in broken)), exit_code=2)

    again = cli.json("import", write(folder, "march.csv", "".join(f"{line}\n" for line in sound)))

    assert (first["recorded"], first["refusals"][0]["line"]) == (4, 3)
    assert "up to line 6" in first["refusals"][0]["message"]
    assert (again["recorded"], again["repeated"], again["refused"]) == (4, 4, 0)
    assert cli.json("usage", "alice", "--period", "all")["by_model"][0]["units"] == {"input_tokens": 36}


@pytest.mark.parametrize(
    ("name", "content", "param"),
    [
        ("a.csv", "user,model,images,images\n", "header"),
        ("a.csv", "user,model,pixels\n", "header"),
        ("a.csv", 'user,"model\n', "row"),
        ("a.csv", "user,model,images\ralice,gpt-image-1,1\r", "row"),
        ("a.csv", "x" * 2_000_000 + "\n", "row"),
        ("a.csv", "\udcff\udcfeu\0s\0e\0r\0\n", "header"),
        ("a.txt", "", "format"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_records_nothing(cli, folder, ledger, name, content, param):
    assert cli.error("import", write(folder, name, content), exit_code=2)["param"] == param


@pytest.mark.parametrize(
    ("words", "param"),
    [
        (["missing.csv"], "file"),
        (["."], "format"),
        ([".", "--format", "csv"], "file"),
        (["a\0.csv"], "file"),
        (["-", "--format", "csv"], "name"),
        (["a.csv", "--resume"], "resume"),
        (["a.csv", "--format", "xml"], "format"),
        (["a.csv", "--name", ""], "name"),
        (["a.csv", "--fates", "a.csv"], "file"),
        (["a.csv", "--fates", "a.csv", "--resume"], "fates"),
    ],
)
def test_what_cannot_be_is_refused(cli, folder, ledger, words, param):
    write(folder, "a.csv", CSV)

    assert cli("--json", "import", *words).exit_code in {2, 7}
    assert json.loads(cli("--json", "import", *words).stderr)["error"]["param"] == param


def test_without_a_ledger_every_row_says_so_and_none_is_made(cli, folder):
    found = cli("--json", "import", write(folder, "a.csv", CSV))

    assert found.exit_code == 4
    assert json.loads(found.stderr)["error"]["code"] == "ledger_not_found"
    assert not (folder / "callfare.db").exists()


def test_the_files_of_the_how_to_can_be_imported(cli, folder, ledger):
    page = (Path(__file__).parents[2] / "docs" / "howto" / "import.md").read_text(encoding="utf-8")
    table, lines = (page.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("csv", "json"))

    done = [cli.json("import", write(folder, "march.csv", table)), cli.json("import", write(folder, "a.jsonl", lines))]

    assert [(one["recorded"], one["credits"]) for one in done] == [(2, "16.039"), (1, "0.039")]


def test_standard_input_is_read_under_a_name(folder, ledger):
    words = [sys.executable, "-m", "callfare", "import", "-", "--format", "jsonl", "--name", "a pipe", "--json"]

    done = subprocess.run(words, input=json.dumps(ROW), cwd=folder, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["recorded"] == 1


@pytest.mark.parametrize("committed", [False, True], ids=["before a commit", "after a commit"])
def test_killed_in_the_middle_it_goes_on_and_records_nothing_twice(cli, folder, ledger, committed):
    name = write(folder, "a.jsonl", [ROW] * 1200)
    actor = f"from tests.cli.test_importing import die; die(committed={committed})"
    died = subprocess.run([sys.executable, "-c", actor], cwd=folder, env=_with_path(), check=False)
    assert died.returncode == -signal.SIGKILL
    before = len(told(folder))

    done = cli.json("import", name, "--fates", "fates.jsonl", "--resume")

    assert (before, done["resumed_after"]) == (500, 500)
    assert (done["recorded"], done["repeated"]) == ((200, 500) if committed else (700, 0))
    assert [fate["row"] for fate in told(folder)] == list(range(1, 1201))
    assert calls() == 1200


def test_a_fate_that_was_torn_is_written_again(cli, folder, ledger):
    name = write(folder, "a.jsonl", [ROW] * 3)
    cli.json("import", name, "--fates", "fates.jsonl")
    whole = (folder / "fates.jsonl").read_bytes()
    (folder / "fates.jsonl").write_bytes(whole[:-10])

    done = cli.json("import", name, "--fates", "fates.jsonl", "--resume")

    assert (done["resumed_after"], done["repeated"]) == (2, 1)
    assert len(told(folder)) == 3


def test_the_fates_of_a_longer_file_are_not_gone_on_from(cli, folder, ledger):
    cli.json("import", write(folder, "a.jsonl", [ROW] * 3), "--fates", "fates.jsonl")
    shorter = write(folder, "b.jsonl", [ROW])

    assert cli.error("import", shorter, "--fates", "fates.jsonl", "--resume", exit_code=2)["param"] == "fates"


def test_a_person_reads_how_much_was_taken_and_why_the_rest_was_not(cli, folder, ledger):
    found = cli("import", write(folder, "a.jsonl", [ROW, "{"]))

    assert found.exit_code == 2
    assert found.stdout.splitlines() == [
        "read 2 rows of a.jsonl",
        "  recorded  1",
        "  refused   1",
        "  charged   4 credits",
        "  cost      $0.04",
        "row 2, line 2, refused: the row cannot be understood: Input data was truncated (invalid_input)",
    ]


def test_a_balance_falls_by_what_was_imported(cli, folder, ledger):
    cli.text("grant", "alice", "100")
    cli.json("import", write(folder, "a.jsonl", [ROW] * 5))

    with Callfare("sqlite:///callfare.db") as fare:
        assert fare.balance("alice").available == Credits(80)


def die(*, committed):
    """Import in this process, and be killed around the commit of the second part."""
    record, parts = OnBehalf.record, []

    async def deadly(self, told, note):
        parts.append(told)
        if len(parts) == 2 and not committed:
            os.kill(os.getpid(), signal.SIGKILL)
        found = await record(self, told, note)
        if len(parts) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    OnBehalf.record = deadly
    app(["import", "a.jsonl", "--fates", "fates.jsonl"])


def _with_path():
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
