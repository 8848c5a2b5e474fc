"""The description of the API is the golden file's, and the server keeps to it whoever asks, whatever they send."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from callfare.server.rules import RULES
from tests.support.serving import engine_on, served

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"


@schemathesis.check
def names_no_command(ctx, response, case):
    """Nobody over HTTP has a command line, or arguments of Python."""
    del ctx, case
    assert b"`callfare" not in response.content
    assert b"fare.workflow" not in response.content


CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance, names_no_command]
PAYMENTS = ("/checkout", "/checkout/done", "/portal", "/webhook")
EXAMPLES = 8
# All but what follows another protocol, which describes it.
DESCRIBED = set(RULES) - {("POST", "/mcp"), ("GET", "/.well-known/oauth-protected-resource")}


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    with served(engine_on(f"sqlite:///{tmp_path_factory.mktemp('openapi')}/x.db")) as serving:
        yield serving


@pytest.fixture(scope="module")
def description(serving):
    with serving.client(None) as client:
        return client.get("/openapi.json").json()


def operations(description):
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_description_is_the_golden_one(description):
    written = json.dumps(description, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    # After a change that is meant: write `written` to the file, and read the difference.
    assert written == GOLDEN.read_text(encoding="utf-8")


def test_every_rule_is_an_operation_and_every_operation_has_a_rule(description):
    assert {(method, path) for method, path, _ in operations(description)} == DESCRIBED


def test_every_operation_declares_the_one_shape_of_errors(description):
    shape = {"$ref": "#/components/schemas/Problem"}
    for _, _, operation in operations(description):
        refusals = {status: answer for status, answer in operation["responses"].items() if status != "200"}
        assert set(refusals) == set(description["components"]["responses"])
    for answer in description["components"]["responses"].values():
        assert answer["content"]["application/json"]["schema"] == shape


def test_every_operation_says_what_it_does_and_bodies_have_examples(description):
    for method, path, operation in operations(description):
        assert operation["summary"].endswith("."), path
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["examples"], (method, path)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(
    "caller",
    [
        "service",
        "alice",
        pytest.param("bound", marks=pytest.mark.all),
        pytest.param("reader", marks=pytest.mark.all),
        None,
    ],
)
def test_whatever_is_sent_gets_a_declared_answer(serving, description, caller, mode):
    asked = schemathesis.openapi.from_dict(json.loads(json.dumps(description)))
    asked.config.update(base_url=serving.url)
    found = [result.ok() for result in asked.get_all_operations()]

    for operation in found:
        send(operation, mode, bearer(serving, caller))

    assert len(found) == len(DESCRIBED)


def test_an_answer_that_is_not_declared_is_seen(tmp_path, description):
    narrower = json.loads(json.dumps(description))
    del narrower["paths"]["/api/billing/balance"]["get"]["responses"]["400"]
    asked = schemathesis.openapi.from_dict(narrower)

    # A server of its own: to the one of the others, so many wrong credentials were sent that it takes none for a while.
    with served(engine_on(f"sqlite:///{tmp_path}/x.db")) as fresh:
        asked.config.update(base_url=fresh.url)
        (balance,) = [found.ok() for found in asked.get_all_operations() if found.ok().path.endswith("/balance")]
        with pytest.raises(FailureGroup, match="Undocumented status code"):
            send(balance, GenerationMode.POSITIVE, bearer(fresh, "service"))


def bearer(serving, caller):
    return {} if caller is None else {"Authorization": f"Bearer {serving.credentials[caller]}"}


def send(operation, mode, headers, *, is_selling=False):
    """Send what an operation takes, or what it does not, and hold each answer against what is declared."""
    # They answer 503 until payments are configured, which is declared.
    checks = CHECKS[1:] if operation.path.endswith(PAYMENTS) and not is_selling else CHECKS

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=HealthCheck)
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case):
        case.validate_response(case.call(headers=headers), checks=checks)

    try:
        each()
    except Unsatisfiable:
        # There is nothing that a request without any input could have wrong.
        assert mode is GenerationMode.NEGATIVE
