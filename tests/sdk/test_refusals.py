"""Clients that are not wrapped: the refusal tells what meters their calls instead, and the table of SDKs is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callfare.capture.clients import wrap_client
from callfare.capture.providers import ELSEWHERE, SIBLINGS, provider_at
from callfare.errors import InvalidInput

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "sdks.md"


def client_of(package):
    """Return an object whose class stands where a package's classes stand."""
    return type("Client", (), {"__module__": f"{package}.client"})()


@pytest.mark.parametrize("package", ELSEWHERE)
def test_the_refusal_of_an_sdk_says_what_to_wrap_instead(meter, package):
    with pytest.raises(InvalidInput, match=r"OpenAI\(base_url=.*or put `fare.metered` before what makes the calls"):
        wrap_client(client_of(package), meter, user=None)


@pytest.mark.parametrize("package", ["openrouter"])
def test_the_address_it_names_is_one_whose_provider_is_known(package):
    address = re.search(r'base_url="([^"]+)"', ELSEWHERE[package])[1]

    assert provider_at(address) != "openai"


def test_the_refusal_of_an_unknown_client_names_those_that_are_known(meter):
    with pytest.raises(InvalidInput, match=r"openai, anthropic, google.genai, botocore.*, groq.*fare.metered"):
        wrap_client(client_of("acme"), meter, user=None)


def test_a_package_whose_name_begins_alike_is_another(meter):
    with pytest.raises(InvalidInput, match="no client that callfare can wrap"):
        wrap_client(client_of("groqqy"), meter, user=None)


def test_a_class_is_refused_saying_that_a_client_is_to_be_made_of_it(meter):
    with pytest.raises(InvalidInput, match=r"Client is a class; make a client of it, and wrap that: Client\(…\)"):
        wrap_client(type(client_of("openai")), meter, user=None)


@pytest.mark.parametrize("package", [*SIBLINGS, *ELSEWHERE])
def test_every_sdk_stands_in_the_table(package):
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]

    assert any(f"`{package}`" in line for line in table)
