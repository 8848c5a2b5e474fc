"""xAI's SDK over gRPC: what is charged for each call, and that the caller gets what the SDK gave.

Run by tests/sdk/test_foreign.py, in an environment that has the SDK.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from subprocess import run

import grpc
import pydantic
import pytest
import xai_sdk
from opentelemetry.sdk.trace import TracerProvider
from xai_sdk.tools import web_search

from callfare import Callfare
from callfare.capture.base import marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.capture.xai import wrap
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits, Usd
from tests.sdk.foreign.xai_kinds import MODEL, USAGE, Kind, made

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "sdks.md"
PAUSE = timedelta(milliseconds=1)


async def test_a_chat_is_settled_by_what_xai_says_it_charged(kind, meter, server):
    reply = await kind.ask(max_tokens=400)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.response_id, estimated) == (USAGE, reply.id, False)
    assert reading.attributes == {"service_tier": "default"}
    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("x-ai", "chat", MODEL)
    assert (intent.usage, intent.base_url) == ({"input_tokens": 2, "output_tokens": 400}, f"https://{server.host}")


async def test_the_cache_stands_within_the_input(kind, meter):
    await kind.done(kind.chat("x" * 400).sample())

    assert (meter.ticket.usage["input_tokens"], meter.ticket.usage["cached_input_tokens"]) == (100, 25)


async def test_a_stream_is_charged_alike(kind, meter):
    chunks = await kind.chunks()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)
    assert chunks[-1][0].usage.completion_tokens == 57


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
async def test_several_replies_to_one_request_are_one_call(kind, meter):
    await kind.done(kind.chat(max_tokens=10).sample_batch(3))
    await kind.chunks(kind.chat(max_tokens=10).stream_batch(3))

    assert [ticket.usage["output_tokens"] for ticket in meter.tickets] == [94, 94]
    assert [ticket.intent.usage["output_tokens"] for ticket in meter.tickets] == [30, 30]


async def test_tools_that_xai_runs_are_counted_beside_the_tokens(kind, meter):
    await kind.ask(tools=[web_search()])

    assert (meter.ticket.usage["web_searches"], meter.ticket.usage["calls"]) == (2, 2)


async def test_the_tier_that_was_asked_for_is_told(kind, meter):
    await kind.ask(service_tier="priority")

    assert meter.ticket.intent.attributes == {"service_tier": "priority"}
    assert meter.ticket.settled[0][0].attributes == {"service_tier": "priority"}


async def test_a_deferred_chat_is_held_and_settled_when_it_is_done(kind, meter):
    reply = await kind.done(kind.chat(max_tokens=400).defer(interval=PAUSE))

    [(job_id, held)] = meter.ticket.pended
    [(told_id, outcome, reading)] = meter.jobs
    assert (told_id, outcome, reading.usage) == (job_id, "completed", USAGE)
    assert (held.usage, reply.usage.completion_tokens) == ({"input_tokens": 2, "output_tokens": 400}, 57)


async def test_a_deferred_chat_that_expires_is_given_back(kind, meter, server):
    server.script(Fault(job="failed"))

    with pytest.raises(RuntimeError):
        await kind.done(kind.chat().defer(interval=PAUSE))

    assert [outcome for _, outcome, _ in meter.jobs] == ["failed"]


async def test_a_stored_chat_that_is_told_again_is_observed_and_not_charged(kind, meter):
    reply = await kind.ask()

    await kind.done(kind.client.chat.get_stored_completion(reply.id))

    assert len(meter.tickets) == 1
    assert [reading.usage for reading in meter.observed] == [USAGE]


async def test_a_compaction_is_a_call_of_its_own(kind, meter):
    await kind.done(kind.chat().compact())

    assert (meter.ticket.usage["output_tokens"], meter.ticket.intent.usage) == (67, {"input_tokens": 2})


@pytest.mark.parametrize("count", [1, 3])
async def test_pictures_are_charged_as_xai_says(kind, meter, count):
    await kind.done(kind.client.image.sample_batch("a cat", "grok-imagine-image", count, resolution="2k"))

    assert meter.ticket.usage == {"images": count, "billed_usd": Fraction(count, 50)}
    assert (meter.ticket.intent.usage, meter.ticket.intent.attributes) == ({"images": count}, {"resolution": "2k"})


async def test_a_video_is_held_by_its_seconds_and_settled_by_its_charge(kind, meter):
    await kind.done(kind.client.video.generate("a cat", "grok-imagine-video", duration=5, interval=PAUSE))

    [(job_id, held)] = meter.ticket.pended
    [(told_id, outcome, reading)] = meter.jobs
    assert (told_id, outcome, held.usage) == (job_id, "completed", {"video_seconds": 5})
    assert reading.usage == {"billed_usd": Fraction(1, 10)}


class Answer(pydantic.BaseModel):
    text: str


async def test_a_reply_that_does_not_fit_the_callers_type_is_charged_all_the_same(kind, meter):
    with pytest.raises(pydantic.ValidationError):
        await kind.done(kind.chat().parse(Answer))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)


# What goes wrong


@pytest.mark.parametrize(
    "spoiled",
    [{"prompt_tokens": -4}, {"completion_tokens": -57}, {"cost_in_usd_ticks": -1}, {"total_tokens": 900}],
    ids=["input", "output", "charge", "total"],
)
async def test_counts_that_cannot_be_true_are_doubted(kind, server, meter, spoiled):
    server.script(Fault(usage=spoiled))

    await kind.ask()

    assert meter.ticket.is_estimated
    assert all(quantity >= 0 for quantity in meter.ticket.usage.values())
    assert meter.ticket.usage["output_tokens"] >= 57


async def test_reasoning_within_what_was_written_is_not_added_again(kind, server, meter):
    server.script(Fault(usage={"completion_tokens": 121}))

    await kind.ask()

    assert (meter.ticket.usage["output_tokens"], meter.ticket.is_estimated) == (121, False)


async def test_a_reply_without_a_charge_is_counted_by_its_tokens(kind, server, meter):
    server.script(Fault(usage={"cost_in_usd_ticks": None}))

    await kind.ask()

    assert "billed_usd" not in meter.ticket.usage
    assert (meter.ticket.usage["output_tokens"], meter.ticket.is_estimated) == (121, False)


async def test_a_reply_without_a_count_is_charged_by_its_text(kind, server, meter):
    server.script(Fault(usage=None), Fault(usage=None))

    await kind.ask()
    await kind.chunks()

    assert [ticket.usage for ticket in meter.tickets] == [{"input_tokens": 2, "output_tokens": 57}] * 2
    assert all(ticket.is_estimated for ticket in meter.tickets)


async def test_a_refused_call_is_not_made(kind, server, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    for call in (
        kind.ask,
        kind.chunks,
        lambda: kind.done(kind.chat().defer()),
        lambda: kind.done(kind.chat().compact()),
    ):
        with pytest.raises(InsufficientCredit):
            await call()

    assert server.count == 0


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_a_call_that_xai_refuses_is_released(kind, server, meter, status):
    server.script(Fault(status=status), Fault(status=status))

    for call in (kind.ask, kind.chunks):
        with pytest.raises(grpc.RpcError):
            await call()

    assert [(ticket.settled, ticket.released) for ticket in meter.tickets] == [([], 1), ([], 1)]


async def test_retries_within_the_sdk_are_one_call(kind, server, meter):
    server.script(Fault(status=503), Fault(status=503))

    await kind.ask()

    assert (server.count, meter.ticket.usage) == (3, USAGE)


# The client


def test_the_given_client_stays_as_it_is(bare, client, meter):
    Kind(bare).chat().sample()

    assert meter.tickets == []
    assert isinstance(client, xai_sdk.Client)
    assert client.models is bare.models


def test_a_client_wrapped_twice_meters_once(client, meter):
    assert wrap_client(client, meter, user=None) is client
    Kind(wrap_client(client, meter, user="alice")).chat().sample()

    assert (meter.ticket.user, meter.ticket.usage) == ("alice", USAGE)


async def test_a_call_within_another_metered_one_is_not_metered_again(kind, meter):
    with marked_as_metered():
        await kind.ask()
        await kind.chunks()

    assert meter.tickets == []


def test_threads_share_a_client(client, meter):
    threads = [threading.Thread(target=lambda: Kind(client).chat().sample()) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [ticket.usage for ticket in meter.tickets] == [USAGE] * 8


async def test_tasks_share_a_client(server, meter):
    bare = made(xai_sdk.AsyncClient, server)
    kind = Kind(wrap(bare, meter))

    await asyncio.gather(*(kind.ask() for _ in range(8)))

    assert [ticket.usage for ticket in meter.tickets] == [USAGE] * 8
    await bare.close()


def test_spans_that_the_sdk_tells_beside_are_not_counted_again(bare, monkeypatch):
    with Callfare("memory://") as fare:
        provider = TracerProvider()
        provider.add_span_processor(fare.listener("otel"))
        monkeypatch.setattr("xai_sdk.sync.chat.tracer", provider.get_tracer("xai"))
        fare.grant("alice", 2000, key="k")
        with fare.user("alice"):
            Kind(fare.wrap(bare)).chat().sample()

        assert fare.usage("alice").calls == 1


@pytest.mark.parametrize("what", [xai_sdk.Client, type("Part", (), {"__module__": "xai_sdk.sync.chat"})()])
def test_what_is_no_client_is_refused(meter, what):
    with pytest.raises(InvalidInput):
        wrap_client(what, meter, user=None)


def test_nothing_that_was_said_is_kept(client, meter):
    Kind(client).chat("the moon is cheese").sample()

    [(reading, _)] = meter.ticket.settled
    assert "cheese" not in json.dumps(reading.raw)


def test_calls_cost_what_xai_says_it_charged(bare, server):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        server.script(Fault(), Fault(usage={"cost_in_usd_ticks": None}), Fault())
        with fare.run("story", user="alice") as run_handle:
            metered = fare.wrap(bare)
            Kind(metered).chat().sample()
            Kind(metered).chat().sample()
            metered.image.sample("a cat", "grok-imagine-image", image_format="base64")

        # 123 hundred-millionths; without a charge 2 at $1.25 and 121 at $2.50 a million; a picture at two cents.
        told, counted, picture = fare.calls(run_handle).items
        assert (told.status, told.cost) == ("priced", Usd("0.00000123"))
        assert (counted.status, counted.cost) == ("priced", Usd("0.000305"))
        assert (picture.status, picture.cost) == ("priced", Usd("0.02"))


def test_a_call_that_cannot_be_paid_for_is_refused_by_what_its_tokens_may_cost(bare, server):
    with Callfare("memory://") as fare:
        fare.grant("alice", "0.1", key="k")
        with fare.user("alice"), pytest.raises(InsufficientCredit):
            # A million tokens at $2.50 a million.
            Kind(fare.wrap(bare)).chat(max_tokens=1_000_000).sample()

    assert server.count == 0


def test_the_example_of_the_page_prints_what_it_says(server, monkeypatch, capsys):
    monkeypatch.setenv("XAI_API_KEY", "none")
    [code] = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    here = code.replace("xai_sdk.Client()", f'xai_sdk.Client(api_host="{server.host}", use_insecure_channel=True)')

    with Callfare("memory://") as fare:
        fare.grant("user_123", 2000, key="k")
        names = {"fare": fare}
        exec(compile(here, str(PAGE), "exec"), names)  # noqa: S102 - our own document

    names["xai"].close()
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\)  # (.+)$", code, re.MULTILINE)


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.xai, sys; print('xai_sdk' in sys.modules, 'grpc' in sys.modules)"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"
