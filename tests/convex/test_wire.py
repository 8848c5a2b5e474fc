"""How values and addresses are written. Needs no Node."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from callfare import Callfare
from callfare.devtools.convex_schema import written
from callfare.errors import LedgerUnavailable, Misconfigured
from callfare.ledger.rows import TABLES
from callfare.store.convex_address import deployment_of, named_address
from callfare.store.convex_files import functions_folder
from callfare.store.convex_http import FunctionFailed, from_wire, to_wire
from callfare.store.convex_http import _value_of as value_of
from callfare.store.convex_questions import _QUERIES, _SALES
from callfare.store.convex_tables import layout_of
from callfare.store.open import open_store, without_password
from callfare.store.protocol import Query, RunsAmong, UnsettledOrders

ENOUGH = {"CALLFARE_CONVEX_SECRET": "long enough to be a secret"}


@pytest.mark.parametrize(
    ("number", "written_as"),
    [
        (0, "AAAAAAAAAAA="),
        (1, "AQAAAAAAAAA="),
        (-1, "//////////8="),
        (2**63 - 1, "/////////38="),
        (-(2**63), "AAAAAAAAAIA="),
        (1_000_000_000, "AMqaOwAAAAA="),
    ],
)
def test_an_integer_is_eight_bytes_the_lowest_first(number, written_as):
    assert to_wire(number) == {"$integer": written_as}
    assert from_wire({"$integer": written_as}) == number


def test_an_integer_of_more_than_64_bits_is_never_wrapped():
    with pytest.raises(OverflowError):
        to_wire(2**63)


def test_what_is_inside_lists_and_objects_is_written_too():
    value = {"a": [1, "é", None, True], "b": {"c": -5}}

    assert from_wire(to_wire(value)) == value
    assert to_wire([True]) == [True]


def test_a_number_that_is_told_with_a_fraction_is_taken():
    assert value_of(b'{"status":"success","value":[1500.0,{"$integer":"AQAAAAAAAAA="}]}') == [1500.0, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b'{"status":"success"}',
        b'{"status":"success","value":{"$integer":"AQ=="',
        b'{"status":"success","value":{"$integer":"?"}}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_cannot_be_read_is_an_unavailable_ledger(answer):
    with pytest.raises(LedgerUnavailable, match="cannot be read"):
        value_of(answer)


@pytest.mark.parametrize("data", [b"null", b'"x"', b"{}", b'{"code":5}', b"[1]"])
def test_what_a_function_throws_without_a_code_of_ours_is_convexs_own(data):
    with pytest.raises(FunctionFailed) as caught:
        value_of(b'{"status":"error","errorMessage":"Uncaught Error","errorData":' + data + b"}")

    assert (caught.value.code, caught.value.message) == ("", "Uncaught Error")


def test_the_tables_of_the_functions_are_written_from_the_rows():
    assert (functions_folder() / "callfare" / "tables.ts").read_text(encoding="utf-8") == written()


def test_the_specifications_tables_have_its_names_and_fields():
    text = written()

    for field in (
        "externalId",
        "email",
        "stripeCustomerId",
        "creditsBalance",
        "runId",
        "workflowType",
        "totalCostCents",
    ):
        assert f"    {field}: " in text
    assert {"users", "workflowRuns", "usageEvents", "transactions"} <= {layout_of(table).name for table in TABLES}


def test_every_index_ends_in_the_primary_key_so_that_a_page_can_go_on():
    for table in TABLES:
        layout = layout_of(table)
        key = {field.name for field in layout.fields[: layout.key_size]}
        assert all(key <= set(fields) for fields in layout.indexes.values()), layout.name


def test_every_question_to_a_store_has_an_answer_in_convex():
    assert set(Query.__subclasses__()) == {*_QUERIES, *_SALES, UnsettledOrders, RunsAmong}


# Addresses


def test_an_address_names_a_deployment_through_tls():
    found = deployment_of(urlsplit("convex://happy-animal-123.convex.cloud"), ENOUGH)

    assert (found.host, found.port, found.path, found.is_secure) == ("happy-animal-123.convex.cloud", None, "", True)
    assert found.secret == "long enough to be a secret"
    assert found.shown == "convex://happy-animal-123.convex.cloud"


def test_a_deployment_on_this_machine_is_spoken_to_in_the_clear():
    found = deployment_of(urlsplit("convex://127.0.0.1:3210"), ENOUGH)

    assert (found.host, found.port, found.is_secure) == ("127.0.0.1", 3210, False)


def test_the_secret_may_stand_in_the_address_and_is_never_shown():
    found = deployment_of(urlsplit("convex://:open%20sesame%2F@db.example"), {})

    assert found.secret == "open sesame/"
    assert "sesame" not in found.shown
    assert without_password("convex://:open%20sesame%2F@db.example") == "convex://:@db.example".replace(":@", "@")


@pytest.mark.parametrize(
    ("environment", "host", "is_secure"),
    [
        ({"CONVEX_URL": "https://one.cloud", "NEXT_PUBLIC_CONVEX_URL": "https://two.cloud"}, "one.cloud", True),
        ({"NEXT_PUBLIC_CONVEX_URL": "https://two.cloud"}, "two.cloud", True),
        ({"CONVEX_URL": "http://127.0.0.1:3210"}, "127.0.0.1", False),
    ],
)
def test_an_address_without_a_name_is_the_environments(environment, host, is_secure):
    found = deployment_of(urlsplit("convex://"), environment | ENOUGH)

    assert (found.host, found.is_secure) == (host, is_secure)
    assert named_address(urlsplit("convex://"), environment).startswith(f"convex://{host}")


@pytest.mark.parametrize(
    ("address", "environment", "complaint"),
    [
        ("convex://", ENOUGH, "takes its address from CONVEX_URL or NEXT_PUBLIC_CONVEX_URL"),
        ("convex://", {"CONVEX_URL": "ftp://x", **ENOUGH}, "CONVEX_URL is no address"),
        ("convex://", {"CONVEX_URL": "http://[", **ENOUGH}, "CONVEX_URL is no address"),
        ("convex://a.example", {}, "CALLFARE_CONVEX_SECRET"),
        ("convex://a.example:99999", ENOUGH, "no such port"),
    ],
)
def test_an_address_that_names_nothing_is_refused_in_words(address, environment, complaint):
    with pytest.raises(Misconfigured, match=complaint):
        deployment_of(urlsplit(address), environment)


def test_convexs_variables_alone_never_switch_an_apps_ledger(monkeypatch, tmp_path):
    monkeypatch.delenv("CALLFARE_DATABASE_URL", raising=False)
    for name in ("CONVEX_URL", "NEXT_PUBLIC_CONVEX_URL"):
        monkeypatch.setenv(name, "https://one.convex.cloud")
    monkeypatch.setenv("CALLFARE_CONVEX_SECRET", "long enough to be a secret")
    monkeypatch.chdir(tmp_path)

    with Callfare() as fare:
        fare.grant("alice", 5, key="welcome")
        shown = fare.balance("alice").available

    assert str(shown) == "5"
    assert (tmp_path / "callfare.db").exists()


def test_an_address_takes_no_option_that_convex_has_not():
    with pytest.raises(Misconfigured, match="no option"):
        open_store("convex://a.example?mode=ro")
