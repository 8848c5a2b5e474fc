"""The stand-in answers the same to the same requests, fails as it is told, and is gone when left."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import openai
import pytest

from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.stand_in import BODY_BYTES_MAX, Fault
from tests.support.ports import held_port, is_refused

ASK = {"model": "gpt-5-mini", "input": "hey"}


def connect(fake):
    address = urlsplit(fake.base_url)
    return http.client.HTTPConnection(address.hostname, address.port, timeout=60)


def post(fake, path, body, **headers):
    connection = connect(fake)
    connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_the_same_requests_get_the_same_replies():
    with FakeOpenAI() as one, FakeOpenAI() as other:
        replies = [post(fake, "/v1/responses", json.dumps(ASK))[1] for fake in (one, other)]

    assert replies[0] == replies[1]


def test_it_listens_on_the_loopback_address_alone(fake):
    assert fake.base_url.startswith("http://127.0.0.1:")


def test_it_is_gone_when_it_is_left():
    with held_port() as port:
        with FakeOpenAI(port=port) as fake:
            waiting = connect(fake)
            waiting.request("POST", "/v1/responses", json.dumps(ASK))
            waiting.getresponse().read()

        assert waiting.sock.recv(1) == b""
        waiting.close()
        assert is_refused("127.0.0.1", port)


def test_it_counts_what_arrived(fake):
    post(fake, "/v1/responses", json.dumps(ASK))
    post(fake, "/v1/nothing", "{}")

    assert fake.count == 2
    assert fake.counts == {"POST /v1/responses": 1, "POST /v1/nothing": 1}
    assert fake.requests[0].fields == ASK


def test_a_body_that_is_too_large_is_not_read(fake):
    connection = connect(fake)
    connection.putrequest("POST", "/v1/responses")
    connection.putheader("Content-Length", str(BODY_BYTES_MAX + 1))
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("body", ["", "no json", "[1]", '"text"'])
def test_a_body_without_fields_is_answered_all_the_same(fake, body):
    response, _ = post(fake, "/v1/chat/completions", body)

    assert response.status == 200


def test_a_fault_is_met_once_and_in_order(fake):
    fake.script(Fault(status=500), Fault(status=429, retry_after="3"))

    answers = [post(fake, "/v1/responses", json.dumps(ASK))[0] for _ in range(3)]

    assert [answer.status for answer in answers] == [500, 429, 200]
    assert answers[1].headers["retry-after"] == "3"


def test_a_fault_for_a_path_waits_for_that_path(fake):
    fake.script(Fault(status=500), path="/audio/")

    statuses = [
        post(fake, path, json.dumps({"model": "m", "input": "hey"}))[0].status
        for path in ("/v1/responses", "/v1/audio/speech", "/v1/audio/speech")
    ]

    assert statuses == [200, 500, 200]


def test_a_fault_may_come_with_the_request(fake):
    by_header, _ = post(fake, "/v1/responses", json.dumps(ASK), **{"x-fake-fault": "status=503"})
    by_metadata, _ = post(fake, "/v1/responses", json.dumps(ASK | {"metadata": {"fake_fault": "status=502"}}))
    _, uncounted = post(fake, "/v1/responses", json.dumps(ASK), **{"x-fake-fault": "usage=none,response_id=r7"})

    assert (by_header.status, by_metadata.status) == (503, 502)
    assert (json.loads(uncounted)["usage"], json.loads(uncounted)["id"]) == (None, "r7")


def test_tokens_are_a_quarter_of_the_characters(bare):
    reply = bare.responses.create(model="gpt-5-mini", input="x" * 401, instructions="y" * 100)

    # 501 characters are 126 tokens; the message adds three; a quarter of them is cached.
    assert (reply.usage.input_tokens, reply.usage.input_tokens_details.cached_tokens) == (129, 32)
    assert reply.usage.output_tokens == -(-len(reply.output_text) // 4) + 64


def test_a_limit_holds_for_thought_and_text_together(bare):
    reply = bare.responses.create(model="gpt-5-mini", input="hey", max_output_tokens=60)

    assert (reply.usage.output_tokens, reply.status) == (60, "completed")
    assert reply.usage.output_tokens_details.reasoning_tokens == 13


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_as_a_background_job_until_it_is_told_to_end(number):
    # What a shell that has no job control starts with `&` begins with the interrupt ignored.
    job = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "callfare.devtools.fake_openai"]
    with subprocess.Popen([*job, "--port", "0"], stdout=subprocess.PIPE, text=True) as program:
        try:
            told = program.stdout.readline()
            base_url = told.split(" at ")[1].split(";")[0]
            with openai.OpenAI(base_url=base_url, api_key="none") as client:
                client.responses.create(**ASK)

            program.send_signal(number)
            rest = program.communicate(timeout=120)[0]
        finally:
            program.kill()

    assert (rest, program.returncode) == ("It answered 1 requests.\n", 0)
