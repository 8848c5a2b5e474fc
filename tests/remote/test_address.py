"""Where a façade may be told that its server is, and how its key is kept to itself."""

from __future__ import annotations

import logging
import pickle

import pytest

from callfare import AsyncCallfare, Callfare
from callfare.errors import Misconfigured
from callfare.remote.address import address_of
from callfare.wiring import masked_key, settings_found

KEY = "cf_test_ab12CD34_0123456789abcdefghijklmnopqrstuvwx"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://billing.example.com", "https://billing.example.com"),
        ("HTTPS://Billing.Example.com:443/", "https://billing.example.com"),
        ("https://billing.example.com:8443/fare/", "https://billing.example.com:8443/fare"),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:8787", "http://[::1]:8787"),
    ],
)
def test_an_address_is_shown_in_one_way(url, shown):
    assert address_of(url, KEY).shown == shown


@pytest.mark.parametrize(
    "url",
    [
        "https://", "https:///x", "https://user:hidden@billing.example.com", f"https://{KEY}@billing.example.com",
        f"https://billing.example.com?key={KEY}", "https://billing.example.com/#x", "https://billing.example.com:x",
        "https://billing.example.com:99999", "https://bill\ning.example.com", "https://[::1", "https://bïlling.example",
        "http://billing.example.com", "http://10.0.0.7:8787", "http://127.0.0.1.example.com",
    ],
)  # fmt: skip
@pytest.mark.parametrize("facade", [Callfare, AsyncCallfare])
def test_an_address_that_is_none_or_would_leak_the_key_is_refused_without_showing_it(facade, url):
    with pytest.raises(Misconfigured) as caught:
        facade(url, api_key=KEY)

    assert caught.value.param == "url"
    assert KEY not in caught.value.message
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize("key", ["", " ", "a b", "schlüssel", "a\r\nX-Evil: 1", "a\0", 5, b"x", "x" * 5000], ids=repr)
def test_a_key_that_is_none_is_refused(key):
    with pytest.raises(Misconfigured) as caught:
        Callfare("https://billing.example.com", api_key=key)

    assert caught.value.param == "api_key"


def test_a_missing_key_is_missed_at_the_start_by_its_variables_name():
    with pytest.raises(Misconfigured) as caught:
        Callfare("https://billing.example.com")

    assert caught.value.message == (
        "a server takes a key: set CALLFARE_API_KEY, or give api_key=, at the command line --key-file; its owner makes "
        "one where the ledger is, with `callfare keys make`, and the server's first start kept one in admin.key there"
    )


def test_a_key_for_a_ledgers_own_address_is_refused():
    with pytest.raises(Misconfigured) as caught:
        Callfare("memory://", api_key=KEY)

    assert caught.value.param == "api_key"


@pytest.mark.parametrize(
    "given", [{"books": ["own.toml"]}, {"seed_prices": False}, {"markup": 2}, {"require_user": True}], ids=str
)
def test_what_is_the_servers_to_say_is_refused(given):
    with pytest.raises(Misconfigured) as caught:
        Callfare("https://billing.example.com", api_key=KEY, **given)

    assert [caught.value.param] == list(given)


def test_the_key_is_in_no_repr_no_log_and_no_error(monkeypatch, caplog):
    monkeypatch.setenv("CALLFARE_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    with Callfare("http://127.0.0.1:9") as fare:
        charge = fare.record("gpt-5-mini", {"input_tokens": 1}, user="alice")
        told = f"{fare!r} {vars(fare)} {vars(fare._engine)} {vars(fare._engine.store)} {fare.spool()} {charge}"

    assert charge.is_spooled
    assert KEY not in told + caplog.text
    spooled = b"".join(path.read_bytes() for path in fare._engine.delivery.spool.folder.glob("*.jsonl"))
    assert spooled
    assert KEY.encode() not in spooled
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(fare)


def test_the_configuration_shows_the_part_of_a_key_that_is_no_secret(monkeypatch):
    monkeypatch.setenv("CALLFARE_API_KEY", KEY)

    (found,) = [one for one in settings_found({}) if one.variable == "CALLFARE_API_KEY"]

    assert found.value == "cf_test_ab12CD34_…"
    assert (masked_key("anything else"), masked_key("")) == ("…", "")
