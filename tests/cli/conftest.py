"""Fixtures: the command line in this process, as a process, and on a terminal, on ledgers that were written before."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from callfare import Callfare
from callfare.cli import app
from callfare.clock import ManualClock
from tests.cli import terminals

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class CommandLine:
    """The command line in this process, in a folder of its own, with the answers of each command."""

    def __init__(self, folder):
        self.folder = folder
        self._runner = CliRunner()

    def __call__(self, *words, env=None):
        return self._runner.invoke(app, list(words), env=env)

    def text(self, *words):
        """Return what a command says that must succeed."""
        result = self(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words, exit_code=0):
        """Return the document that a command answers with."""
        result = self("--json", *words)
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout)

    def error(self, *words, exit_code):
        """Return the facts of the error that a command must end with, having answered nothing."""
        result = self("--json", *words)
        assert result.exit_code == exit_code, result.output
        assert result.stdout == ""
        return json.loads(result.stderr)["error"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder that commands run in: empty, and nothing in the environment points elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in ("CALLFARE_DATABASE_URL", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def cli(folder):
    """The command line, in this process."""
    return CommandLine(folder)


@pytest.fixture
def script(folder):
    """The console script, as a process of its own."""
    return terminals.Script(folder)


@pytest.fixture
def clock():
    """A clock at noon of 2 March 2026, UTC, which moves when told."""
    return ManualClock(NOON)


@pytest.fixture
def written(folder, clock):
    """Ids of what stands in callfare.db: alice with a completed story and an open tweet, bob in debt, a nameless call.

    alice has 30 credits for promotion and 2000 bought; everything happened at noon of 2 March 2026 and just after.
    """
    with Callfare("sqlite:///callfare.db", clock=clock) as fare:
        fare.grant("alice", 30, key="welcome", source="promo", expires_at=NOON + timedelta(days=3000))
        fare.grant("alice", 2000, key="cs_1", source="purchase")
        clock.advance(60)
        with fare.run("story", user="alice", run_id="story-1") as run:
            first = run.record(
                "gpt-5-mini-2025-08-07",
                {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 345},
                operation="responses.create",
                provider="openai",
                response_id="resp_1",
                step="outline",
                metadata={"topic": "boats"},
            )
            second = run.record("gpt-image-1", {"images": 4}, attributes={"size": "1024x1536"})
            third = run.record("model-9", {"input_tokens": 7})
        clock.advance(60)
        fare.open_run("tweet", user="alice", run_id="tweet-1")
        fare.record("gpt-4o-mini-tts", {"characters": 1000}, user="bob", at=NOON - timedelta(days=2))
        with pytest.warns(UserWarning, match="names no user"):
            fare.record("whisper-1", {"audio_seconds": "8.47"})
    return {"first": first.id, "second": second.id, "third": third.id}
