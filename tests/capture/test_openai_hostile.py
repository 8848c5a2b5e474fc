"""Whatever a reply says was used, its call can be charged: a whole that must be estimated holds the parts counted."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callfare.capture.openai_dialect import OpenAIDialect
from callfare.usage.quantities import check_usage, leaves

COUNTS = st.sampled_from([0, 1, 3, 5000, 10**12, 10**18, -1, None, "many"])
PARTS = dict.fromkeys(
    ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens"), COUNTS
)
DETAILS = st.fixed_dictionaries(
    {}, optional={**PARTS, "cached_tokens_details": st.fixed_dictionaries({}, optional=PARTS)}
)
CHAT_USAGES = st.fixed_dictionaries(
    {"prompt_tokens_details": DETAILS, "completion_tokens_details": DETAILS},
    optional={"prompt_tokens": COUNTS, "completion_tokens": COUNTS},
)
USAGES = st.fixed_dictionaries(
    {"input_tokens_details": DETAILS, "output_tokens_details": DETAILS},
    optional={"input_tokens": COUNTS, "output_tokens": COUNTS, "seconds": COUNTS},
)
REPLIES = st.fixed_dictionaries(
    {"usage": st.one_of(CHAT_USAGES, USAGES, COUNTS)},
    optional={
        "id": st.just("x"),
        "data": st.lists(st.none(), max_size=2),
        "seconds": COUNTS,
        "duration": COUNTS,
        "background": st.booleans(),
        "status": st.sampled_from(["queued", "completed", "failed", "cancelled", None]),
    },
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("m"), "input": st.sampled_from(["", "hey there", [1, 2, 3]])},
    optional={"max_tokens": COUNTS, "n": COUNTS, "seconds": COUNTS},
)
PATHS = (
    "/chat/completions",
    "/responses",
    "/embeddings",
    "/audio/speech",
    "/audio/transcriptions",
    "/images/generations",
    "/videos",
    "/videos/extensions",
)

OPENAI = OpenAIDialect()


def settlement(path, reply, body=None, written_bytes=None):
    operation = OPENAI.operation_of(path)
    request = OPENAI.request_of(
        path, operation=operation, base_url="http://x/v1", body=body or {"model": "m"}, options={}
    )
    return OPENAI.settlement_of(request, reply, written_bytes=written_bytes)


@given(st.sampled_from(PATHS), st.one_of(REPLIES, COUNTS), BODIES, st.none() | st.integers(0, 10**6))
def test_no_reply_makes_a_reading_that_cannot_be_rated(path, reply, body, written_bytes):
    usage = dict(settlement(path, reply, body, written_bytes).reading.usage)

    assert leaves(usage) is not None
    assert check_usage(usage or {"calls": 1})


@pytest.mark.parametrize("written", [{}, {"completion_tokens": -1}, {"completion_tokens": 10**18}])
@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
def test_an_estimated_output_holds_the_reasoning_that_was_counted(path, written):
    usage = {"prompt_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 5000}, **written}

    earned = settlement(path, {"usage": usage}, {"model": "m", "max_tokens": 90_000}, written_bytes=40)

    assert earned.estimated
    assert earned.reading.usage == {"input_tokens": 10, "output_tokens": 5000, "reasoning_tokens": 5000}


def test_an_estimated_input_holds_the_cached_tokens_that_were_counted():
    usage = {"completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 5000, "audio_tokens": 20}}

    earned = settlement("/chat/completions", {"usage": usage}, {"model": "m", "messages": [{"content": "hey there"}]})

    assert (earned.kind, earned.estimated) == ("settle", True)
    assert earned.reading.usage["input_tokens"] == 5020


def test_an_estimate_above_the_counted_parts_stands():
    usage = {"prompt_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 64}}

    earned = settlement("/chat/completions", {"usage": usage}, written_bytes=4000)

    assert earned.reading.usage == {"input_tokens": 10, "output_tokens": 1000, "reasoning_tokens": 64}


class Deaf(logging.Handler):
    """A listener to the log that is at fault itself."""

    def emit(self, record):
        raise OSError(record.msg)


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_fault_of_ours_that_cannot_even_be_logged_harms_nobody(client, meter, is_stream, monkeypatch):
    meter.breaks = True
    monkeypatch.setattr("callfare.capture.openai_tallies.ChatTally.take", None)
    deaf = Deaf()
    logging.getLogger("callfare").addHandler(deaf)

    try:
        reply = client.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": "hi"}], stream=is_stream
        )
        events = list(reply) if is_stream else [reply]
    finally:
        logging.getLogger("callfare").removeHandler(deaf)

    assert events[0].choices
    assert len(meter.ticket.settled) == 1
