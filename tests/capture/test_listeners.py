"""What frameworks tell of their calls, as plain objects: read, charged once, and harmless."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace as Of

import pytest

from callfare.capture import langchain, litellm, otel, pydantic_ai, recent
from callfare.capture.base import marked_as_metered
from callfare.capture.clients import listener_for
from callfare.capture.recent import RECENT, Recent, hear, note_metered
from callfare.errors import InvalidInput
from tests.capture.fake_meter import FakeMeter


@pytest.fixture
def meter():
    return FakeMeter()


@pytest.fixture(autouse=True)
def _forgotten():
    """Ids, and calls that were heard to begin, are those of one test."""
    RECENT._ids.clear()
    recent._HEARD.set(None)


# LangChain


def result(message_id="chatcmpl-2", **usage):
    message = Of(
        id="run-1",
        usage_metadata={"input_tokens": 50, "output_tokens": 9, "total_tokens": 59, **usage},
        response_metadata={"id": message_id, "model_name": "gpt-5-mini-2025-08-07", "service_tier": "flex"},
    )
    return Of(generations=[[Of(message=message), Of(message=message)]], llm_output=None)


def start(listener, run_id="r"):
    about = {"ls_provider": "openai", "ls_model_name": "gpt-5-mini"}
    listener.on_chat_model_start({}, [], run_id=run_id, metadata=about)


def test_a_call_of_langchains_is_charged_once_however_many_choices_it_has(meter):
    listener = langchain.listener(meter)
    start(listener)

    listener.on_llm_end(
        result(input_token_details={"cache_read": 10}, output_token_details={"reasoning": 4}), run_id="r"
    )

    assert meter.ticket.usage == {
        "input_tokens": 50,
        "cached_input_tokens": 10,
        "output_tokens": 9,
        "reasoning_tokens": 4,
    }
    [(reading, estimated)] = meter.ticket.settled
    assert (reading.model, reading.attributes, estimated) == ("gpt-5-mini-2025-08-07", {"service_tier": "flex"}, False)
    assert meter.ticket.intent.provider == "openai"


def test_a_stream_of_langchains_that_told_no_count_is_charged_for_what_was_received(meter):
    listener = langchain.listener(meter)
    asked = [[Of(content="Is it lit?"), Of(content=[{"type": "text", "text": "And now?"}])]]
    listener.on_chat_model_start({}, asked, run_id="r", metadata={"ls_provider": "openai", "ls_model_name": "gpt-5"})

    whole = Of(id="run-1", content="The lamp is lit.", usage_metadata=None, response_metadata={"model_name": "gpt-5"})
    listener.on_llm_end(Of(generations=[[Of(message=whole, text="The lamp is lit.")]], llm_output=None), run_id="r")

    # 18 bytes and 16 at four to a token.
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 4}, True)


def test_a_completion_of_langchains_that_told_no_count_is_charged_for_what_was_received(meter):
    listener = langchain.listener(meter)
    listener.on_llm_start({}, ["Is it lit?"], run_id="r", metadata={"ls_provider": "openai", "ls_model_name": "m"})

    listener.on_llm_end(Of(generations=[[Of(text="The lamp is lit.")]], llm_output=None), run_id="r")

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 3, "output_tokens": 4}, True)


def test_a_call_of_langchains_that_a_wrapped_client_metered_is_not_counted_again(meter):
    RECENT.claim("chatcmpl-2")
    listener = langchain.listener(meter)
    start(listener)

    listener.on_llm_end(result(), run_id="r")

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


def test_a_call_of_langchains_without_an_id_over_a_wrapped_client_is_not_counted_again(meter):
    listener = langchain.listener(meter)
    start(listener)
    note_metered()

    listener.on_llm_end(result(message_id=None), run_id="r")

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


def test_a_call_of_a_wrapped_client_in_the_loop_over_langchains_stream_is_another_call(meter):
    listener = langchain.listener(meter)
    start(listener)
    note_metered().settled({"input_tokens": 7, "output_tokens": 9})

    listener.on_llm_end(result(message_id=None), run_id="r")

    assert meter.ticket.usage == {"input_tokens": 50, "output_tokens": 9}


@pytest.mark.parametrize("tokens", [[50], [20, 30]])
def test_a_call_of_langchains_that_tells_what_a_wrapped_client_read_is_not_counted_again(meter, tokens):
    listener = langchain.listener(meter)
    start(listener)
    note_metered().released()
    for count in tokens:
        note_metered().settled({"input_tokens": count})

    listener.on_llm_end(result(message_id="another"), run_id="r")

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


def test_calls_that_begin_one_within_the_other_all_know_of_the_wrapped_client(meter):
    outer, inner = langchain.listener(meter), langchain.listener(meter)
    start(outer)
    start(inner)
    note_metered()

    for listener in (inner, outer):
        listener.on_llm_end(result(message_id=None), run_id="r")

    assert [ticket.settled for ticket in meter.tickets] == [[], []]


def test_a_call_that_is_over_does_not_hold_the_next(meter):
    listener = langchain.listener(meter)
    for number in range(3):
        start(listener, run_id=number)
        listener.on_llm_end(result(message_id=f"id-{number}"), run_id=number)

    assert hear().above is None


def test_a_call_of_langchains_that_fails_is_let_go(meter):
    listener = langchain.listener(meter)
    start(listener)

    listener.on_llm_error(RuntimeError("no"), run_id="r")

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


def test_a_result_without_any_count_or_text_is_one_call(meter):
    langchain.listener(meter).on_llm_end(Of(generations=[[Of(message=Of())]], llm_output=None), run_id="?")

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"calls": 1}, False)


def test_completions_that_only_tell_the_older_count_are_read(meter):
    told = Of(generations=[[Of(text="hi")]], llm_output={"token_usage": {"prompt_tokens": 3, "completion_tokens": 2}})

    langchain.listener(meter).on_llm_end(told, run_id="r")

    assert meter.ticket.usage == {"input_tokens": 3, "output_tokens": 2}


# PydanticAI


def test_each_response_of_an_agents_run_is_a_call(meter):
    used = {"input_tokens": 30, "cache_read_tokens": 10, "cache_write_tokens": 0, "output_tokens": 5, "details": {}}
    said = {"kind": "response", "usage": used, "model_name": "m", "provider_name": "google-gla"}
    messages = [{"kind": "request"}, said | {"provider_response_id": "a"}, said | {"provider_response_id": "b"}]
    listener = pydantic_ai.listener(meter)

    listener(Of(new_messages=lambda: messages))
    listener(messages)

    assert [len(ticket.settled) for ticket in meter.tickets] == [1, 1, 0, 0]
    assert meter.tickets[0].usage == {"input_tokens": 30, "cached_input_tokens": 10, "output_tokens": 5}
    assert meter.tickets[0].intent.provider == "google"


@dataclass
class Said:
    """A response of PydanticAI's whose provider gave it no id."""

    kind: str
    usage: dict[str, object]
    model_name: str = "m"


def test_a_response_without_an_id_that_is_told_twice_is_one_call(meter):
    listener = pydantic_ai.listener(meter)
    messages = [Said("response", {"input_tokens": 3, "output_tokens": 1}) for _ in range(2)]

    listener(messages)
    listener(messages)

    assert [ticket.usage for ticket in meter.tickets] == [{"input_tokens": 3, "output_tokens": 1}] * 2


# OpenTelemetry


class Spans:
    """Spans that begin and end, as OpenTelemetry tells of them."""

    def __init__(self, meter):
        self.importer = otel.listener(meter)
        self.made = 0

    def begin(self, parent=None, status="OK", **attributes):
        self.made += 1
        span = Of(
            context=Of(span_id=self.made, trace_id=7),
            parent=None if parent is None else parent.context,
            attributes={name.replace("__", "."): value for name, value in attributes.items()},
            status=Of(status_code=Of(name=status)),
        )
        self.importer.on_start(span)
        return span

    def end(self, *spans):
        for span in spans:
            self.importer.on_end(span)


def leaf(**more):
    return {
        "gen_ai__operation__name": "chat",
        "gen_ai__provider__name": "openai",
        "gen_ai__request__model": "gpt-5-mini",
        "gen_ai__response__model": "gpt-5-mini-2025-08-07",
        "gen_ai__usage__input_tokens": 1200,
        "gen_ai__usage__output_tokens": 350,
        **more,
    }


def test_a_span_of_one_call_is_counted(meter):
    spans = Spans(meter)

    spans.end(spans.begin(**leaf(gen_ai__usage__cache_read__input_tokens=800, gen_ai__response__id="r1")))

    [(reading, estimated)] = meter.ticket.settled
    assert reading.usage == {"input_tokens": 1200, "cached_input_tokens": 800, "output_tokens": 350}
    assert (reading.model, reading.response_id, estimated) == ("gpt-5-mini-2025-08-07", "r1", False)


@pytest.mark.parametrize("operation", ["invoke_agent", "invoke_workflow", "execute_tool", "fetch_response", "AGENT"])
def test_a_span_that_holds_others_is_not_counted(meter, operation):
    spans = Spans(meter)

    spans.end(spans.begin(**leaf(gen_ai__operation__name=operation)))

    assert meter.tickets == []


def test_three_instrumentations_of_one_call_count_it_once(meter):
    spans = Spans(meter)
    first = spans.begin(**leaf(gen_ai__response__id="r1"))
    second = spans.begin(parent=first, **leaf(gen_ai__response__id="r1"))
    third = spans.begin(parent=second, **leaf())

    spans.end(third, second, first)

    assert [len(ticket.settled) for ticket in meter.tickets] == [1]


def test_a_root_span_that_repeats_what_its_calls_used_is_not_counted(meter):
    spans = Spans(meter)
    root = spans.begin(**leaf(gen_ai__usage__input_tokens=2400, gen_ai__usage__output_tokens=700))
    first = spans.begin(parent=root, **leaf(gen_ai__response__id="r1"))
    spans.end(first)
    second = spans.begin(parent=root, **leaf(gen_ai__response__id="r2"))
    spans.end(second, root)

    assert [ticket.usage["input_tokens"] for ticket in meter.tickets] == [1200, 1200]


def test_a_span_within_a_metered_call_is_not_counted(meter):
    spans = Spans(meter)
    with marked_as_metered():
        span = spans.begin(**leaf())

    spans.end(span)

    assert meter.tickets == []


@pytest.mark.parametrize("settled", [{"input_tokens": 1200}, None])
def test_a_span_around_the_call_of_a_wrapped_client_is_not_counted(meter, settled):
    spans = Spans(meter)
    span = spans.begin(**leaf())
    spans.end(spans.begin(parent=span, gen_ai__operation__name="execute_tool"))
    note = note_metered()
    if settled is not None:
        note.settled(settled)

    spans.end(span)

    assert meter.tickets == []


def test_a_span_is_counted_although_a_wrapped_client_made_another_call_within_it(meter):
    spans = Spans(meter)
    span = spans.begin(**leaf())
    note_metered().settled({"input_tokens": 17})

    spans.end(span)

    assert meter.ticket.usage == {"input_tokens": 1200, "output_tokens": 350}


def test_a_span_without_a_count_is_one_call_and_one_that_failed_is_nothing(meter):
    spans = Spans(meter)
    bare = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "m"}

    spans.end(spans.begin(**bare), spans.begin(status="ERROR", **bare))

    assert [ticket.usage for ticket in meter.tickets] == [{"calls": 1}]


def test_openinferences_names_are_read_too(meter):
    spans = Spans(meter)

    spans.end(
        spans.begin(
            openinference__span__kind="LLM",
            llm__provider="anthropic",
            llm__model_name="claude-sonnet-5",
            llm__token_count__prompt=3,
            llm__token_count__completion=100,
            llm__token_count__prompt_details__cache_read=2000,
            user__id="alice",
        )
    )

    assert meter.ticket.usage == {"input_tokens": 2003, "cached_input_tokens": 2000, "output_tokens": 100}
    assert meter.ticket.user == "alice"


# All of them


@pytest.mark.parametrize("junk", [None, 7, "text", [], {}, object(), Of(generations=5), Of(attributes=3, parent=1)])
def test_what_nobody_can_read_harms_nobody(meter, junk):
    litellm.listener(meter).log_success_event({}, junk, None, None)
    langchain.listener(meter).on_chat_model_start(junk, junk, run_id=1)
    langchain.listener(meter).on_llm_end(junk, run_id=1)
    pydantic_ai.listener(meter)(junk)
    otel.listener(meter).on_start(junk)
    otel.listener(meter).on_end(junk)

    assert all(ticket.usage in ({}, {"calls": 1}) for ticket in meter.tickets if ticket.settled)


def test_a_library_nobody_knows_is_refused(meter):
    with pytest.raises(InvalidInput, match="there are langchain, litellm, openai_realtime, otel"):
        listener_for("langfuse", meter, user=None)


def test_only_the_latest_ids_are_kept():
    recent = Recent(kept=2)

    claims = [recent.claim(name) for name in ("a", "b", "a", "c", "a", "", "")]

    assert claims == [True, True, False, True, True, True, True]
