"""Batches whose ledger is behind a server, and keys that are bound to one user."""

from __future__ import annotations

import json

import pytest
from openai import OpenAI

from callfare import Callfare, Credits
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.ledger.commands import ClaimBatch, OpenRun
from callfare.remote import sent
from callfare.server.rules import API
from tests.support.commands import account_number, claim, open_run

BODY = {"model": "gpt-5-nano", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 400}
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}


@pytest.fixture
def fake():
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def bare(fake):
    with OpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        yield bare


def batch_of(client, **named):
    file = client.files.create(file=("r.jsonl", json.dumps(LINE).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    client.batches.retrieve(batch.id)
    return client.batches.retrieve(batch.id).output_file_id


def test_a_key_bound_to_a_user_makes_and_reads_their_batches(serving, bare):
    with Callfare(serving.url, api_key=serving.credentials["service"]) as service:
        service.grant("alice", 10, key="k")
        with Callfare(serving.url, api_key=serving.credentials["bound"]) as bound:
            client = bound.wrap(bare, user="alice")
            client.files.content(batch_of(client))

        [run] = service.history("alice").items
        assert (run.workflow, run.status, run.calls, service.balance("alice").held) == (
            "batch",
            "completed",
            1,
            Credits(0),
        )


def test_a_key_bound_to_a_user_pays_for_reading_what_is_somebody_elses(serving, bare):
    with Callfare(serving.url, api_key=serving.credentials["service"]) as service:
        service.grant("alice", 10, key="k")
        service.grant("bob", 10, key="k2")
        output = batch_of(service.wrap(bare, user="bob"))

        with Callfare(serving.url, api_key=serving.credentials["bound"]) as bound:
            bound.wrap(bare, user="alice").files.content(output)
            assert bound.spool().waiting == 0

        assert (service.usage("alice").calls, service.usage("bob").calls) == (1, 0)
        service.wrap(bare).files.content(output)
        assert service.usage("bob").calls == 1


def test_a_bound_key_is_not_told_whose_a_batch_is(serving, bare):
    key = {"type": "claimBatch", "batchKeys": ["batch:openai::b1"]}
    with serving.client("service") as service:
        service.post(f"{API}/commands", json=[key | {"userId": "bob"}])

    with serving.client("bound") as bound:
        answers = bound.post(f"{API}/commands", json=[key, key | {"isKnownOnly": True}]).json()["results"]

    assert [answer["error"]["code"] for answer in answers] == ["not_found", "not_found"]
    assert "bob" not in json.dumps(answers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batchKeys": []},
        {"batchKeys": ["response:openai::r1"]},
        {"batchKeys": ["batch:openai::b\x00"]},
        {"batchKeys": ["batch:" + "x" * 3000]},
        {"batchKeys": "batch:openai::b1"},
        {"ttlSeconds": 0},
        {"ttlSeconds": 1e9},
        {"accountId": "nobody"},
        {"accountId": "0000000000001"},
        {"runId": "nobody-opened-it"},
        {"accountId": "0000000000000"},
    ],
    ids=str,
)
def test_a_claim_that_cannot_be_is_refused_and_claims_nothing(serving, wrong):
    asked = {"type": "claimBatch", "batchKeys": ["batch:openai::b1"], "userId": "alice"}
    with serving.client("service") as service:
        answer = service.post(f"{API}/commands", json=[asked | wrong])
        known = service.post(f"{API}/commands", json=[asked | {"isKnownOnly": True}]).json()["results"]

    refused = answer.status_code in {400, 422} or answer.json()["results"][0]["status"] == "refused"
    assert refused, answer.text
    assert known[0]["error"]["code"] == "not_found"


def test_what_a_run_takes_over_travels_as_an_amount():
    opening: OpenRun = open_run("batch-1", hold=3, parent="r1", from_parent="1.5")

    facts = sent.facts_of(opening)

    assert (facts["parentRunId"], facts["fromParentCredits"]) == ("r1", "1.5")
    assert "parentRunId" not in sent.facts_of(open_run("r1"))


def test_a_claim_travels_with_whom_it_is_for():
    command: ClaimBatch = claim("b1", "f1", user="alice", run_id="batch-1", ttl_s=60)

    assert sent.facts_of(command) == {
        "type": "claimBatch",
        "batchKeys": ["batch:openai::b1", "batch:openai::f1"],
        "userId": "alice",
        "runId": "batch-1",
        "ttlSeconds": 60,
    }
    assert account_number("alice") == command.new_account_id
