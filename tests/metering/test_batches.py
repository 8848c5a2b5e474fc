"""Batches on a ledger: bounded before they are made, held while they are pending, charged once to whoever made them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
from openai import BadRequestError, OpenAI

from callfare import Callfare
from callfare.clock import ManualClock
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit, Refused, RunClosed, UnpricedModel
from callfare.money import Credits

HELLO = [{"role": "user", "content": "hi there"}]
# Two tokens of input at half of $0.05 and 400 of output at half of $0.40 a million: $0.00008005, which is 0.008005.
BODY = {"model": "gpt-5-nano", "messages": HELLO, "max_completion_tokens": 400}
CEILING = Credits("0.01601")
# 4 tokens at $0.025, 1 of the cache at $0.0025 and 121 written at $0.20 a million, of two lines.
COST = Credits("0.0048605")
DAY_S = 24 * 3600


def requests(*bodies: dict[str, object]) -> bytes:
    return b"".join(
        json.dumps({"custom_id": f"line-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}).encode()
        + b"\n"
        for n, body in enumerate(bodies)
    )


def upload(client: OpenAI, *bodies: dict[str, object]) -> str:
    return client.files.create(file=("r.jsonl", requests(*(bodies or (BODY, BODY)))), purpose="batch").id


def make(client: OpenAI, *bodies: dict[str, object], file_id: str | None = None) -> str:
    batch = client.batches.create(
        input_file_id=file_id or upload(client, *bodies), endpoint="/v1/chat/completions", completion_window="24h"
    )
    return batch.id


def output_of(client: OpenAI, batch_id: str) -> str:
    client.batches.retrieve(batch_id)
    return client.batches.retrieve(batch_id).output_file_id


def batch_run(fare: Callfare, user: str = "alice"):
    [run] = [run for run in fare.history(user).items if run.workflow == "batch"]
    return run


@pytest.fixture(autouse=True)
def _granted(fare: Callfare) -> None:
    fare.grant("alice", 10, key="k")


@pytest.fixture
def alice(fare: Callfare) -> Iterator[None]:
    with fare.user("alice"):
        yield


@pytest.mark.usefixtures("alice")
def test_a_batch_holds_the_most_it_can_cost(fare: Callfare, client: OpenAI):
    make(client)

    balance = fare.balance("alice")
    assert (balance.held, balance.available) == (CEILING, Credits("9.98399"))
    run = batch_run(fare)
    assert (run.status, run.held, run.calls) == ("open", CEILING, 0)


@pytest.mark.usefixtures("alice")
def test_a_batch_that_cannot_be_paid_is_refused_before_it_is_made(fare: Callfare, client: OpenAI, fake: FakeOpenAI):
    dear = upload(client, {**BODY, "max_completion_tokens": 600_000_000})

    with pytest.raises(InsufficientCredit) as refused:
        make(client, file_id=dear)

    assert isinstance(refused.value, Refused)
    assert (refused.value.user, refused.value.available) == ("alice", Credits(10))
    assert fake.counts["POST /v1/batches"] == 0
    assert fare.balance("alice").held == Credits(0)


@pytest.mark.usefixtures("alice")
def test_batches_do_not_count_on_the_same_credit(fare: Callfare, client: OpenAI, fake: FakeOpenAI):
    file_id = upload(client, {**BODY, "max_completion_tokens": 400_000})
    refused = []

    def work() -> None:
        with fare.user("alice"):
            try:
                make(client, file_id=file_id)
            except InsufficientCredit:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Each is 8.000005 at the most.
    assert len(refused) == 3
    assert fake.counts["POST /v1/batches"] == 1


@pytest.mark.usefixtures("alice")
def test_nobody_without_credit_makes_a_batch_of_which_nothing_is_known(
    fare: Callfare, client: OpenAI, fake: FakeOpenAI
):
    fake.files["elsewhere"] = requests(BODY)

    with fare.user("bob"), pytest.raises(InsufficientCredit):
        make(client, file_id="elsewhere")
    make(client, file_id="elsewhere")

    assert fake.counts["POST /v1/batches"] == 1


@pytest.mark.usefixtures("alice")
def test_a_batch_that_the_provider_refuses_gives_its_hold_back(fare: Callfare, client: OpenAI, fake: FakeOpenAI):
    file_id = upload(client)
    fake.script(Fault(status=400), path="/batches")

    with pytest.raises(BadRequestError):
        make(client, file_id=file_id)

    assert fare.balance("alice").held == Credits(0)
    assert batch_run(fare).status == "cancelled"


# Results


def test_results_are_charged_to_whoever_made_the_batch(fare: Callfare, client: OpenAI):
    fare.grant("bob", 10, key="k")
    with fare.user("alice"):
        batch_id = make(client)

    with fare.run("story", user="bob", hold=1):
        client.files.content(output_of(client, batch_id))

    run = batch_run(fare)
    assert (run.status, run.calls, run.charged) == ("completed", 2, COST)
    assert fare.balance("alice").available == Credits("9.9951395")
    assert (fare.usage("bob").calls, fare.balance("bob").available) == (0, Credits(10))


def test_results_are_charged_once_however_often_and_by_whom_they_are_read(fare: Callfare, client: OpenAI):
    with fare.user("alice"):
        batch_id = make(client)
    output = output_of(client, batch_id)

    def work(user: str) -> None:
        with fare.user(user):
            client.files.content(output)

    threads = [threading.Thread(target=work, args=(user,)) for user in ("alice", "bob", "carol", "dave")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.files.content(output)

    assert fare.usage("alice").calls == 2
    assert fare.balance("alice").available == Credits("9.9951395")
    assert [fare.usage(user).calls for user in ("bob", "carol", "dave")] == [0, 0, 0]


def test_whoever_else_opens_the_ledger_charges_the_maker_too(
    fare: Callfare, url: str, clock: ManualClock, fake: FakeOpenAI, client: OpenAI
):
    with fare.user("alice"):
        batch_id = make(client)

    # A ledger in memory is this one alone, and another client of it stands for another process.
    opened = nullcontext(fare) if url == "memory://" else Callfare(url, clock=clock)
    with opened as other, OpenAI(base_url=fake.base_url, api_key="none") as bare:
        reader = other.wrap(bare, user="bob")
        reader.files.content(output_of(reader, batch_id))

    assert batch_run(fare).status == "completed"
    assert fare.balance("alice").available == Credits("9.9951395")


def test_a_file_is_known_to_be_a_batch_s_by_those_who_were_not_told(
    fare: Callfare, client: OpenAI, monkeypatch: pytest.MonkeyPatch
):
    with fare.user("alice"):
        batch_id = make(client)
    output = output_of(client, batch_id)
    monkeypatch.setattr("callfare.capture.batches.BATCH_FILES.batch_of", lambda *_: None)

    with fare.user("bob"):
        client.files.content(output)

    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (2, 0)


def test_nobody_need_be_named_to_read_what_somebody_made(
    fare: Callfare, client: OpenAI, caplog: pytest.LogCaptureFixture
):
    with fare.user("alice"):
        batch_id = make(client)

    client.files.content(output_of(client, batch_id))

    assert fare.usage("alice").calls == 2
    # That a call names no user is told as an error.
    assert [record.message for record in caplog.records if record.name == "callfare"] == []


def test_what_was_made_elsewhere_is_charged_to_the_first_who_reads_it(
    fare: Callfare, client: OpenAI, sdk: Callable[..., OpenAI]
):
    fare.grant("bob", 10, key="k")
    with fare.user("alice"):
        output = output_of(client, make(sdk(), file_id=upload(client)))
        client.files.content(output)

    with fare.user("bob"):
        client.files.content(output)

    assert (fare.usage("alice").calls, fare.usage("bob").calls) == (2, 0)
    assert fare.balance("bob").available == Credits(10)


def test_what_was_made_elsewhere_and_read_in_a_run_is_the_run_s(
    fare: Callfare, client: OpenAI, sdk: Callable[..., OpenAI]
):
    output = output_of(client, make(sdk(), file_id=upload(client)))

    with fare.run("story", user="alice", hold=1) as run:
        client.files.content(output)
        client.responses.create(model="gpt-5-nano", input="hi")

    assert [call.attributes.get("processing") for call in fare.calls(run).items] == ["batch", "batch", None]


# Ends


@pytest.mark.usefixtures("alice")
def test_a_cancelled_batch_gives_back_what_was_held(fare: Callfare, client: OpenAI):
    batch_id = make(client)

    client.batches.cancel(batch_id)

    assert fare.balance("alice").held == Credits(0)
    assert (batch_run(fare).status, batch_run(fare).charged) == ("cancelled", Credits(0))


@pytest.mark.parametrize(
    ("status", "outcome"), [("expired", "cancelled"), ("failed", "failed"), ("completed", "failed")]
)
@pytest.mark.usefixtures("alice")
def test_a_batch_that_ends_without_results_gives_back_what_was_held(
    fare: Callfare, client: OpenAI, fake: FakeOpenAI, status: str, outcome: str
):
    batch_id = make(client)
    fake.batches[batch_id] |= {"status": status, "output_file_id": None}

    assert client.batches.retrieve(batch_id).status == "in_progress"
    assert fare.balance("alice").held == CEILING
    assert client.batches.retrieve(batch_id).status == status

    assert fare.balance("alice").held == Credits(0)
    assert batch_run(fare).status == outcome


@pytest.mark.usefixtures("alice")
def test_an_expired_batch_with_results_is_held_until_they_are_read(fare: Callfare, client: OpenAI, fake: FakeOpenAI):
    batch_id = make(client)
    fake.batches[batch_id] |= {"status": "expired"}
    fake.files[f"{batch_id}_output"] = fake.files[f"{batch_id}_output"].splitlines(keepends=True)[0]

    output = output_of(client, batch_id)
    assert fare.balance("alice").held == CEILING
    client.files.content(output)

    assert (batch_run(fare).status, batch_run(fare).calls) == ("completed", 1)
    assert fare.balance("alice").held == Credits(0)


@pytest.mark.usefixtures("alice")
def test_the_file_of_errors_ends_nothing(fare: Callfare, client: OpenAI, fake: FakeOpenAI):
    batch_id = make(client)
    fake.batches[batch_id] |= {"error_file_id": "errors"}
    fake.files["errors"] = b'{"custom_id": "line-0", "response": {"status_code": 400, "body": {}}}\n'

    client.files.content("errors")
    output_of(client, batch_id)
    client.files.content("errors")

    assert fare.balance("alice").held == CEILING


@pytest.mark.usefixtures("alice")
def test_results_that_nobody_reads_are_held_for_a_week(fare: Callfare, client: OpenAI, clock: ManualClock):
    batch_id = make(client)

    clock.advance(7 * DAY_S - 1)
    assert fare.balance("alice").held == CEILING
    clock.advance(2)
    assert fare.balance("alice").available == Credits(10)
    client.files.content(output_of(client, batch_id))

    run = batch_run(fare)
    assert (run.status, run.calls) == ("expired", 2)
    assert [call.flags for call in fare.calls(run.run_id, user="alice").items] == [("late",), ("late",)]
    assert fare.balance("alice").available == Credits("9.9951395")


# In a run


def test_a_batch_takes_its_hold_out_of_the_run_it_is_made_in(fare: Callfare, client: OpenAI):
    with fare.run("story", user="alice", hold=10) as run:
        batch_id = make(client)
        assert (fare.balance("alice").held, fare.balance("alice").available) == (Credits(10), Credits(0))
        assert run.left == Credits("9.98399")

    # The run has ended; its batch goes on.
    assert fare.balance("alice").held == CEILING
    client.files.content(output_of(client, batch_id))
    assert (fare.usage("alice").calls, fare.balance("alice").held) == (2, Credits(0))


def test_a_batch_takes_the_rest_of_its_hold_out_of_what_is_available(fare: Callfare, client: OpenAI):
    with fare.run("story", user="alice", hold="0.01") as run:
        make(client)

        assert fare.balance("alice").held == CEILING
        assert run.left == Credits(0)


def test_a_model_without_a_price_is_refused_within_a_run(fare: Callfare, client: OpenAI, fake: FakeOpenAI):
    file_id = upload(client, BODY, {**BODY, "model": "nobody-knows-it"})

    with fare.run("story", user="alice", hold=1), pytest.raises(UnpricedModel):
        make(client, file_id=file_id)
    assert fake.counts["POST /v1/batches"] == 0

    with fare.user("alice"):
        make(client, file_id=file_id)
    assert fake.counts["POST /v1/batches"] == 1


def test_a_run_that_has_ended_makes_no_batch(fare: Callfare, client: OpenAI, fake: FakeOpenAI):
    file_id = upload(client)

    with fare.run("story", user="alice", hold=1) as run:
        fare.close_run(run.id, user="alice")
        with pytest.raises(RunClosed):
            make(client, file_id=file_id)

    assert fake.counts["POST /v1/batches"] == 0
    assert fare.balance("alice").held == Credits(0)
