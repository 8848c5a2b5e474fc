"""Calls that listeners hear of when they are over: nobody can refuse them any more, and none is lost."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest

from callfare import Callfare


@pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)
@pytest.mark.parametrize("is_strict", [True, False])
def test_a_call_that_nobody_can_refuse_any_more_is_recorded(url: str, *, is_strict: bool) -> None:
    used = {"prompt_tokens": 5, "completion_tokens": 3}
    reply = {"id": f"told at {url}, {is_strict}", "model": "gpt-5-mini", "usage": used}

    with Callfare(url, require_user=is_strict) as fare, warnings.catch_warnings():
        warnings.simplefilter("error")
        fare.grant("alice", 1, key="k")
        fare.listener("litellm").log_success_event({"custom_llm_provider": "openai"}, reply)

        assert fare.usage("unattributed").by_model[0].units == {"input_tokens": 5, "output_tokens": 3}


@pytest.mark.parametrize("name", ["user.id", "gen_ai.provider.name", "gen_ai.response.model"])
@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * 1_000_000])
@pytest.mark.parametrize("url", ["memory"], indirect=True)
@pytest.mark.filterwarnings("ignore::callfare.UnattributedWarning")
def test_a_span_is_charged_whatever_its_attributes_are(fare: Callfare, name: str, value: str) -> None:
    fare.grant("alice", 1, key="k")
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.id": f"{name} {value[:3]!a}",
    }
    context = SimpleNamespace(trace_id=1, span_id=2)
    span = SimpleNamespace(context=context, parent=None, status=None, attributes=told | {name: value})
    importer = fare.listener("otel")

    importer.on_start(span)
    importer.on_end(span)

    assert fare.usage("unattributed").calls == 1
