"""Every request that an SDK can send stands in a table: metered, heard, free, or not metered although it may cost.

A release that sends something new fails here, until somebody has looked at what it costs; one that the table was not
read from fails with `--all` only, since releases come without us. What a table says is metered is what the wrapper
meters, by its own words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from callfare.capture import (
    cohere_dialect,
    cohere_jobs,
    google_dialect,
    google_interactions,
    mistral,
    mistral_jobs,
    ollama,
)
from callfare.capture.anthropic import AnthropicDialect
from callfare.capture.bedrock_dialect import BedrockDialect
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.providers import SIBLINGS
from tests.sdk import requests_of
from tests.sdk.requests_of import table_in

TABLES = Path(__file__).parent / "requests"
PACKAGES = {
    "openai": ("openai", requests_of.stainless),
    "anthropic": ("anthropic", requests_of.stainless),
    "groq": ("groq", requests_of.stainless),
    "together": ("together", requests_of.stainless),
    "cerebras": ("cerebras.cloud.sdk", requests_of.stainless),
    "perplexity": ("perplexity", lambda folder: requests_of.stainless(folder, "generated")),
    "mistral": ("mistralai", requests_of.mistral),
    "cohere": ("cohere", requests_of.cohere),
    "google": ("google.genai", requests_of.google),
    "ollama": ("ollama", requests_of.ollama),
    "huggingface": ("huggingface_hub", requests_of.huggingface),
    "bedrock": ("botocore", requests_of.bedrock),
}
_RELEASE = re.compile(r"# What (\S+) (\S+) can send")
_NAMED = re.compile(r"\{[^}]+\}")
_TOLD_ADDRESS = "https://api.anthropic.com/v1/messages/batches/b1/results"


@dataclass(frozen=True)
class Noticed:
    """Which requests a wrapper meters, and which it hears, by its own words."""

    is_metered: Callable[[str], bool]
    is_heard: Callable[[str], bool]


def by_path(dialect):
    """What is noticed of an SDK whose requests pass as verb and path."""

    def told(row):
        verb, _, path = row.partition(" ")
        return verb, _TOLD_ADDRESS if path.startswith("(") else _NAMED.sub("x1", path)

    def is_metered(row):
        verb, path = told(row)
        return verb == "POST" and dialect.operation_of(path) is not None

    def is_heard(row):
        verb, path = told(row)
        if is_metered(row) or verb not in ("GET", "POST"):
            return False
        about = {"base_url": "https://x", "body": {"purpose": "batch"} if verb == "POST" else None}
        makes = verb == "POST" and dialect.batch_made_by(path, **about, options={}) is not None
        brings = verb == "GET" and dialect.batch_of(path) is not None
        return makes or brings or bool(dialect.job_of(path) or dialect.heard_at(path, **about, files=[b""]))

    return Noticed(is_metered, is_heard)


def sibling(package):
    told = SIBLINGS[package]
    return by_path(OpenAIDialect(maker=told.provider, under=told.under))


def of_mistral():
    """By part and method, however deep the part is; a stream's method passes the same path."""

    def named(methods):
        return {(part.rpartition(".")[2], name) for part, names in methods.items() for name in names}

    metered, heard = named(mistral._METHODS), named(mistral_jobs.METHODS) | {("conversations", "get")}

    def method_of(row):
        return tuple(row.split()[0].split("."))

    return Noticed(lambda row: method_of(row) in metered, lambda row: method_of(row) in heard)


def of_cohere():
    calls = {(part, name) for part in ("client", "v2", "audio.transcriptions") for name in cohere_dialect.OPERATIONS}
    made = {(part, make) for part, (make, _) in cohere_jobs.JOBS.items()}
    asked = {(part, ask) for part, (_, ask) in cohere_jobs.JOBS.items()}

    def method_of(row):
        part, _, name = row.split()[0].rpartition(".")
        return part, name

    return Noticed(lambda row: method_of(row) in calls, lambda row: method_of(row) in made | asked)


def of_google():
    dialect = google_dialect.GoogleDialect()
    names = {"{operationName}": "models/veo/operations/x1", "{name}": "x1", "{file}": "x1:download"}

    def told(row):
        verb, _, path = row.partition(" ")
        for name, known in names.items():
            path = path.replace(name, known)
        return verb, _NAMED.sub("x1", path)

    def is_metered(row):
        verb, path = told(row)
        is_interaction = google_interactions._CREATE.fullmatch(path) is not None
        return verb == "POST" and (is_interaction or dialect.operation_of(path) is not None)

    def is_heard(row):
        verb, path = told(row)
        # The parts of the client that these two pass, and what the body of the last one names.
        if row in ("download_file files.download", "POST {resourceName}:fetchPredictOperation"):
            return True
        is_told = google_interactions._TOLD.fullmatch(path) is not None and verb in ("GET", "POST")
        makes = verb == "POST" and dialect.batch_made_by(path, base_url="https://x", body={}) is not None
        return (
            makes or is_told or (verb == "GET" and bool(dialect.job_of(path) or dialect.batch_of(path, {"name": "b"})))
        )

    return Noticed(is_metered, is_heard)


NOTICED = {
    "openai": by_path(OpenAIDialect()),
    "anthropic": by_path(AnthropicDialect()),
    "groq": sibling("groq"),
    "together": sibling("together"),
    "cerebras": sibling("cerebras.cloud.sdk"),
    "perplexity": sibling("perplexity"),
    "mistral": of_mistral(),
    "cohere": of_cohere(),
    "google": of_google(),
    "ollama": Noticed(
        lambda row: row.split()[1] in ollama._PATHS or row.rpartition("/")[2] in ollama._OF_THE_WEB, lambda row: False
    ),
    "huggingface": Noticed(lambda row: row.endswith(" _inner_post"), lambda row: False),
    "bedrock": Noticed(lambda row: BedrockDialect().is_streamed(row) is not None, lambda row: False),
}


@pytest.fixture(params=PACKAGES)
def sdk(request):
    return request.param


def table_of(sdk):
    return table_in((TABLES / f"{sdk}.txt").read_text(encoding="utf-8"))


def requests_by(sdk):
    package, read = PACKAGES[sdk]
    return read(requests_of.folder_of(package))


def test_every_request_of_an_sdk_stands_in_its_table(sdk, request):
    name, read_from = _RELEASE.match((TABLES / f"{sdk}.txt").read_text(encoding="utf-8")).groups()
    if version(name) != read_from and not request.config.getoption("--all"):
        pytest.skip(f"{name} is {version(name)}, its table of {read_from}; --all compares them")

    assert requests_by(sdk) - set(table_of(sdk).kinds) == set()


def test_what_a_table_says_is_metered_is_what_the_wrapper_meters(sdk):
    table, noticed = table_of(sdk), NOTICED[sdk]
    # A session has no path: its own tests show that it is metered.
    rows = {row for row in table.kinds if not row.startswith("SOCKET ")}

    assert {row for row in rows if noticed.is_metered(row)} == table.of("metered") & rows
    assert {row for row in rows if noticed.is_heard(row)} == table.of("heard") & rows


# That the reading sees what is new


def package_with(tmp_path, file, text):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("read", "file", "text", "row"),
    [
        (
            requests_of.stainless,
            "resources/new.py",
            "    def paint(self):\n        return self._post(\n            '/x'".replace("'", '"'),
            "POST /x",
        ),
        (
            requests_of.stainless,
            "resources/new.py",
            '    def paint(self, id):\n        return self._client.post(path_template("/x/{id}", id=id),',
            "POST /x/{id}",
        ),
        (requests_of.stainless, "resources/new.py", "    def connect(self):\n        pass", "SOCKET new"),
        (
            requests_of.mistral,
            "client/new.py",
            '    def paint(self):\n        self._build_request(\n            method="POST",\n            path="/x",',
            "new.paint POST /x",
        ),
        (
            requests_of.cohere,
            "new/raw_client.py",
            '    def paint(self):\n        httpx_client.request(\n            "v2/x",\n            method="POST",',
            "new.paint POST v2/x",
        ),
        (
            requests_of.google,
            "new.py",
            "  def paint(self):\n    path = '{model}:paint'\n    self._api_client.request(\n        'post', path,",
            "POST {model}:paint",
        ),
        (
            requests_of.ollama,
            "_client.py",
            "  def paint(self):\n    return self._request(\n      Painting,\n      'POST',\n      '/api/paint',",
            "POST /api/paint",
        ),
        (
            requests_of.huggingface,
            "inference/_client.py",
            "    def paint(self):\n        return self._inner_post(asked)",
            "paint _inner_post",
        ),
        (
            requests_of.xai,
            "proto/v7/new_pb2_grpc.py",
            "        self.Paint = channel.unary_unary(\n                '/xai_api.New/Paint',",
            "xai_api.New/Paint",
        ),
    ],
)
def test_what_a_release_adds_is_seen(tmp_path, read, file, text, row):
    assert row in read(package_with(tmp_path, file, text))


@pytest.mark.parametrize(
    ("read", "file", "text"),
    [
        (requests_of.stainless, "resources/new.py", "    def paint(self):\n        return self._post(where, body=1)"),
        (requests_of.mistral, "client/new.py", "    def paint(self):\n        req = self._build_request(where)"),
        (requests_of.cohere, "new/raw_client.py", "    def paint(self):\n        httpx_client.request(where)"),
        (requests_of.google, "new.py", "  def paint(self):\n    self._api_client.request('post', where)"),
        (requests_of.ollama, "_client.py", "  def paint(self):\n    return self._request(Painting, verb, where)"),
    ],
)
def test_what_sends_to_a_path_that_cannot_be_read_is_no_silence(tmp_path, read, file, text):
    with pytest.raises(AssertionError, match="cannot be read"):
        read(package_with(tmp_path, file, text))


@pytest.mark.parametrize(
    "text", ["paid: it costs\n    POST /x", "free\n    POST /x", "free: one\n    POST /x\nfree: two\n    POST /x"]
)
def test_a_table_has_reasons_and_each_request_once(text):
    with pytest.raises(AssertionError):
        table_in(text)
