"""Messages of sessions are read as the replies are that were worked out by hand, on their way through a session."""

from __future__ import annotations

import json

import pytest

from callfare.capture.google_live import LiveTalk
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.openai_lanes import ResponsesTalk
from callfare.capture.openai_sessions import RealtimeTalk
from tests.truth import openai_replies, session_replies

AT = "http://127.0.0.1"
HEARD = {"type": "session.created", "session": {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}}


def case_of(replies, name):
    [case] = [case for case in replies.CASES if case.name == name]
    return case


def counted(case, spent):
    """Return what a session says was used, and what was worked out, without what is nothing."""
    [one] = spent
    assert (one.settlement.kind, one.settlement.estimated) == ("settle", False)
    used = one.settlement.reading.usage
    return {root: used[root] for root in case.totals}, {meter: quantity for meter, quantity in used.items() if quantity}


@pytest.mark.parametrize("name", ["what was said in a session, some of it cached", "what was heard in a session"])
def test_messages_of_a_realtime_session_are_read_as_their_events(name):
    case = case_of(openai_replies, name)
    talk = RealtimeTalk(provider="openai", base_url=AT, model="gpt-realtime")
    talk.heard(json.dumps(HEARD))

    totals, used = counted(case, talk.heard(case.replies[-1].to_json()))

    assert totals == case.totals
    assert used.keys() >= {meter for meter, quantity, _, _ in case.lines if quantity}


@pytest.mark.parametrize("case", [case for case in session_replies.CASES if "live session" in case.name])
def test_messages_of_a_live_session_are_read_as_their_turns(case):
    talk = LiveTalk(provider="google", base_url=AT, model="gemini-live-2.5-flash")

    totals, used = counted(case, talk.heard(json.dumps(case.replies[0]).encode()))

    assert totals == case.totals
    assert used.keys() >= {meter for meter, quantity, _, _ in case.lines if quantity and meter not in case.totals}


def test_events_of_a_lane_are_read_as_their_response():
    case = case_of(session_replies, "a response over a web socket")
    talk = ResponsesTalk(dialect=OpenAIDialect(), base_url=AT)
    talk.asked(json.dumps({"type": "response.create", "stream_id": "lane", "model": "gpt-5-mini", "input": "hi"}))
    talk.heard(json.dumps({"type": "response.created", "stream_id": "lane", "response": {"id": "resp_1"}}))

    totals, used = counted(case, talk.heard(case.replies[-1].to_json()))

    assert totals == case.totals
    assert used == {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350, "reasoning_tokens": 128}
