"""A process that makes a batch and reads its results, and dies at its n-th step, before or after a write."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import count

from openai import OpenAI

from callfare import Callfare
from callfare.capture.batch_calls import Making
from callfare.ledger.commands import Command
from callfare.store.sqlite import SqliteStore

BODY = {"model": "gpt-5-nano", "messages": [{"role": "user", "content": "hi there"}], "max_completion_tokens": 400}
LINES = [{"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": BODY} for name in ("a", "b")]


def live(url: str, base_url: str, last_step: str, plant: str) -> None:
    """Make a batch for alice and read it; say what the caller was told, and `survived` when nothing has ended it."""
    _die_at(int(last_step))
    if plant == "answer before binding":
        Making.apply = lambda self, settlement: None
    with Callfare(url) as fare, OpenAI(base_url=base_url, api_key="none", max_retries=0) as bare:
        client = fare.wrap(bare, user="alice")
        lines = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
        file = client.files.create(file=("r.jsonl", lines), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        print("made", batch.id, flush=True)
        client.batches.retrieve(batch.id)
        output = client.batches.retrieve(batch.id).output_file_id
        client.files.content(output)
        print("read", output, flush=True)
    print("survived", flush=True)


def _die_at(last_step: int) -> None:
    """Have this process end, as if killed, at a step: even before a write of the ledger, odd after it."""
    steps, apply = count(), SqliteStore.apply

    def dying(store: SqliteStore, commands: Sequence[Command]) -> object:
        if next(steps) == last_step:
            os._exit(9)
        answers = apply(store, commands)
        if next(steps) == last_step:
            os._exit(9)
        return answers

    SqliteStore.apply = dying
