"""Minimums over HTTP: what was billed in place of less is told as it is on a ledger here."""

from __future__ import annotations

from callfare import Callfare


def test_what_was_billed_in_place_of_less_is_told_over_http(serving):
    with Callfare(serving.url, api_key=serving.credentials["service"]) as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run:
            run.record("whisper-large-v3", {"audio_seconds": "2.5"}, provider="groq")
        [call] = fare.calls(run).items
        [priced] = fare.price("whisper-large-v3", {"audio_seconds": "2.5"}).lines
        arithmetic = fare.explain(call.id).arithmetic

    assert [line.minimum for line in (*call.lines, priced)] == [10, 10]
    assert "(billed as 10)" in "\n".join(arithmetic)
