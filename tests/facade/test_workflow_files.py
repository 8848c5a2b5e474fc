"""A file of workflows: known to the library, the command line and the server alike, or refused as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from callfare import Callfare, Credits
from callfare.cli import app
from callfare.errors import Misconfigured
from callfare.estimate.load import WORKFLOWS_VARIABLE
from tests.support.serving import engine_on, served

FILE = """
[[workflow]]
name = "report"
low = 5
high = 20.5
on_failure = "waive"

[[workflow]]
name = "digest"

[[workflow.part]]
model = "gpt-image-1"
usage = { images = 1 }
attributes = { size = "1024x1536" }
at_least = 2
at_most = 3
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "workflows.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv(WORKFLOWS_VARIABLE, str(path))
        return path

    return write


def test_a_range_and_parts_are_estimated_as_declared_in_code(told):
    told(FILE)

    with Callfare("memory://") as fare:
        report, digest = fare.estimate("report"), fare.estimate("digest")

    assert (report.low, report.high, report.on_failure, report.rests_on) == (
        Credits(5),
        Credits("20.5"),
        "waive",
        "declared",
    )
    assert (digest.low, digest.high, digest.rests_on) == (Credits(16), Credits(24), "parts")


def test_the_file_of_the_page_is_taken_and_says_what_its_code_says(told):
    page = (Path(__file__).parents[2] / "docs" / "howto" / "workflows.md").read_text(encoding="utf-8")
    told(page.partition("```toml\n")[2].partition("```")[0])

    with Callfare("memory://") as fare:
        caption, poster = fare.estimate("caption"), fare.estimate("poster")

    assert (caption.low, caption.high, caption.on_failure) == (Credits("0.01"), Credits(1), "waive")
    assert (poster.low, poster.high, poster.rests_on) == (Credits(16), Credits(24), "parts")


def test_a_run_of_it_is_held_for_and_waived(told):
    told(FILE)

    with Callfare("memory://") as fare:
        fare.grant("alice", 10, key="k")
        run = fare.open_run("report", user="alice")
        held = fare.balance("alice").held
        run.record("gpt-image-1", {"images": 1}, attributes={"size": "1024x1536"})
        run.close("failed")
        left = fare.balance("alice").available

    assert (held, left) == (Credits(5), Credits(10))


def test_code_stands_before_the_file(told):
    told(FILE)

    with Callfare("memory://") as fare:
        fare.workflow("report", low=1, high=2)

        assert fare.estimate("report").high == Credits(2)


def test_the_command_line_knows_it(told, tmp_path):
    told(FILE)
    runner = CliRunner()

    said = runner.invoke(app, ["estimate", "report", "--db", f"sqlite:///{tmp_path}/x.db"])

    assert said.exit_code == 0, said.output
    assert "5–20.5 credits" in said.stdout


def test_a_server_knows_its_own_and_its_callers_need_none(told, tmp_path, monkeypatch):
    told(FILE)
    with served(engine_on(f"sqlite:///{tmp_path}/x.db")) as serving:
        monkeypatch.delenv(WORKFLOWS_VARIABLE)
        with serving.client() as client:
            answer = client.get("/api/billing/estimate", params={"workflowType": "digest"}).json()
        with Callfare(serving.url, api_key=serving.credentials["service"]) as fare:
            asked = fare.estimate("report")

    assert (answer["lowCredits"], answer["highCredits"]) == ("16", "24")
    assert asked.high == Credits("20.5")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "it has no workflow"),
        ("workflow = 5", "write each workflow as"),
        ("workflow = [5]", "write each workflow as"),
        ("[[workflow]]\nname = 'a'\nlow = 1\nhigh = 2\n[other]", "write each workflow as"),
        ("[[workflow", "cannot be read as a file of workflows"),
        ("[[workflow]]\nlow = 1\nhigh = 2", "workflow None: name is NoneType; give text"),
        ("[[workflow]]\nname = ''\nlow = 1\nhigh = 2", "name has 0 characters"),
        ("[[workflow]]\nname = 'a'", "workflow 'a': workflow a needs low= and high=, or parts="),
        ("[[workflow]]\nname = 'a'\nlow = 2\nhigh = 1", "needs 0 <= low <= high"),
        ("[[workflow]]\nname = 'a'\nlow = -1\nhigh = 1", "needs 0 <= low <= high"),
        ("[[workflow]]\nname = 'a'\nlow = 0.0000000001\nhigh = 1", "workflow 'a': credits"),
        ("[[workflow]]\nname = 'a'\nlow = nan\nhigh = 1", "workflow 'a': credits"),
        ("[[workflow]]\nname = 'a'\nlow = 1e999999999\nhigh = 1", "workflow 'a': credits"),
        ("[[workflow]]\nname = 'a'\nlow = '1e400'\nhigh = 1", "workflow 'a': credits is not a decimal number"),
        ("[[workflow]]\nname = 'a'\nlow = true\nhigh = 1", "workflow 'a': credits is bool"),
        ("[[workflow]]\nname = 'a'\nlow = 1\nhigh = 2\nmiddle = 1", "has no 'middle'; there are high, low, name,"),
        ("[[workflow]]\nname = 'a'\nlow = 1\nhigh = 2\non_failure = 'cry'", "on_failure must be one of charge, waive"),
        ("[[workflow]]\nname = 'a'\npart = 5", "parts is int; give a list of mappings"),
        ("[[workflow]]\nname = 'a'\n[[workflow.part]]\nmodel = 'm'", "a part is a mapping with model and usage"),
        ("[[workflow]]\nname = 'a'\n[[workflow.part]]\nmodel = 'm'\nusage = { tea = 1 }", "there is no meter 'tea'"),
        (f"{FILE}\n[[workflow]]\nname = 'report'\nlow = 1\nhigh = 2", "'report' is there twice"),
    ],
)
def test_a_file_that_could_be_misread_is_refused_naming_where(told, text, hint):
    path = told(text)

    with pytest.raises(Misconfigured) as refusal:
        Callfare("memory://")

    assert str(path) in str(refusal.value)
    assert hint in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(told):
    path = told("")
    path.unlink()

    with pytest.raises(Misconfigured, match="cannot be read as a file of workflows"):
        Callfare("memory://")
