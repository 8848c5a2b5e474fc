"""Documents say what is so: code in them runs and prints what it says, and every code, meter and setting is listed."""

from __future__ import annotations

import gc
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anthropic import Anthropic
from botocore.client import BaseClient
from cohere import Client as CohereClient
from google import genai
from groq import Groq
from ollama import Client as Ollama
from openai import OpenAI

from callfare import AsyncCallfare, Callfare, Credits, errors
from callfare.devtools.fake_anthropic import FakeAnthropic
from callfare.devtools.fake_bedrock import FakeBedrock
from callfare.devtools.fake_cohere import FakeCohere
from callfare.devtools.fake_google import FakeGoogle
from callfare.devtools.fake_huggingface import FakeHuggingFace
from callfare.devtools.fake_ollama import FakeOllama
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.fake_siblings import FakeGroq, FakeMistral
from callfare.usage.meters import ATTRIBUTES, METERS
from tests.support.certificates import certified
from tests.support.fake_stripe import TEST_KEY, running_fake_stripe
from tests.support.rerouted import rerouted
from tests.support.serving import engine_on, served
from tests.test_tidy import LAYERS

ROOT = Path(__file__).parents[1]
EXAMPLE = "https://billing.example.com"
REFERENCE = ROOT / "docs" / "reference"
# Followed to the letter by tests of their own: tests/demo/test_start_page.py, tests/frameworks/test_page.py.
ELSEWHERE = {"docs/start.md", "docs/howto/frameworks.md"}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
PAGES = sorted(
    path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("README.md")]
)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pages_with_code() -> Iterator[tuple[str, str]]:
    """Yield each page that has Python in it, with its blocks in their order."""
    for page in PAGES:
        found = BLOCK.findall(page.read_text(encoding="utf-8"))
        if found and named(page) not in ELSEWHERE:
            yield named(page), "\n".join(found)


RUNNABLE = dict(pages_with_code())


def said(code: str) -> list[str]:
    """Return what the comments behind print say will be printed."""
    return re.findall(r"^\s*print\(.*\)  # (.+)$", code, re.MULTILINE)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Have every provider on the loopback address; return the variables that lead the SDKs there."""
    files = certified(tmp_path_factory.mktemp("tls"))
    with (
        FakeOpenAI() as openai,
        FakeAnthropic() as claude,
        # Its SDK opens live sessions over TLS alone.
        FakeGoogle(tls=files.context()) as gemini,
        FakeGroq() as groq,
        FakeMistral() as mistral,
        FakeBedrock() as bedrock,
        FakeOllama() as ollama,
        FakeCohere() as cohere,
        FakeHuggingFace() as hub,
        rerouted(hub.base_url),
        running_fake_stripe() as stripe,
    ):
        yield {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock.base_url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "MISTRAL_URL": mistral.base_url,
            "MISTRAL_API_KEY": "none",
            "HF_TOKEN": "hf_none",
            "OLLAMA_HOST": ollama.base_url,
            "COHERE_URL": cohere.base_url,
            "CO_API_KEY": "none",
            "GROQ_BASE_URL": groq.base_url,
            "GROQ_API_KEY": "none",
            "OPENAI_BASE_URL": openai.base_url,
            "OPENAI_API_KEY": "none",
            "ANTHROPIC_BASE_URL": claude.base_url,
            "ANTHROPIC_API_KEY": "none",
            "GOOGLE_GEMINI_BASE_URL": gemini.base_url,
            "GEMINI_API_KEY": "none",
            "SSL_CERT_FILE": str(files.authority),
            "STRIPE_SECRET_KEY": TEST_KEY,
            "CALLFARE_STRIPE_API_URL": stripe.base_url,
        }


@contextmanager
def served_for(code, folder, monkeypatch):
    """Yield a page's code with a real server in the place of the one that it names."""
    if f'Callfare("{EXAMPLE}' not in code:
        yield code
        return
    with served(engine_on(f"sqlite:///{folder}/served.db")) as serving:
        monkeypatch.setenv("CALLFARE_API_KEY", serving.credentials["service"])
        yield code.replace(EXAMPLE, serving.url)


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, stand_ins, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in stand_ins.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # Clients that other pages and tests have left close themselves when they are collected, in whatever loop runs then.
    gc.collect()
    names: dict[str, object] = {"__name__": "page"}
    with served_for(RUNNABLE[page], tmp_path, monkeypatch) as code:
        exec(compile(code, page, "exec"), names)  # noqa: S102 - our own documents
    closed = (OpenAI, Anthropic, genai.Client, Groq, BaseClient, Ollama)
    for client in [value for value in names.values() if isinstance(value, closed)]:
        client.close()
    for client in [value for value in names.values() if isinstance(value, CohereClient)]:
        client.__exit__(None, None, None)

    assert capsys.readouterr().out.splitlines() == said(RUNNABLE[page])


def test_the_first_screen_of_the_readme_ends_in_a_printed_balance():
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]

    (code,) = BLOCK.findall(first_screen)
    assert re.search(r"^print\(fare\.balance\(.*\)  # [0-9.]+\n\Z", code, re.MULTILINE)
    assert len([line for line in code.splitlines() if line and not line.startswith("from ")]) <= 6
    assert "./run demo" in first_screen
    assert "./run test" in first_screen


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_to_a_file_leads_to_one(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


# Errors


def tree(kind: type[errors.CallfareError] = errors.CallfareError) -> Iterator[type[errors.CallfareError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from tree(child)


ERRORS = {kind.code: kind for kind in tree()}
EXAMPLES = {
    errors.InsufficientCredit: lambda: errors.InsufficientCredit("u", needed=Credits(2), available=Credits(1)),
    errors.UnpricedModel: lambda: errors.UnpricedModel("m", reason="r"),
    errors.RunNotFound: lambda: errors.RunNotFound("r"),
    errors.RunAmbiguous: lambda: errors.RunAmbiguous("r", users=2),
    errors.KeyConflict: lambda: errors.KeyConflict("k"),
    errors.SchemaOlder: lambda: errors.SchemaOlder("the database", found=1, newest=2),
    errors.RunClosed: lambda: errors.RunClosed("r", outcome="failed"),
    errors.TooManyAttempts: lambda: errors.TooManyAttempts(retry_after_s=9),
    errors.GrantCapReached: lambda: errors.GrantCapReached(
        "k", cap=Credits(2), granted=Credits(1), asked=Credits(2), resets_at="tomorrow"
    ),
}


def rows_of(text: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a page by their first cell, which is a code."""
    rows = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `"))
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in rows}


def test_every_decision_has_its_number_and_is_listed():
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text()

    for record in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        number = int(record.name.partition("-")[0])
        assert record.read_text().startswith(f"# {number}. "), record.name
        assert re.search(rf"^- \[{number}\. .+\]\({re.escape(record.name)}\)", listed, re.MULTILINE), record.name


def test_every_error_has_a_code_of_its_own():
    kinds = list(tree())

    assert len(ERRORS) == len(kinds)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in ERRORS)


def test_every_error_is_documented_with_its_class_and_its_facts():
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    rows = rows_of(text)
    heads = set(re.findall(r"^## .*: `([a-z_]+)`$", text, re.MULTILINE))

    assert rows.keys() | heads == set(ERRORS)
    for code, (class_name, when, facts, step) in rows.items():
        kind = ERRORS[code]
        example = EXAMPLES.get(kind, lambda kind=kind: kind("message"))()
        assert class_name == f"`{kind.__name__}`"
        assert set(re.findall(r"`(\w+)`", facts)) == example.facts().keys() - {"code", "message", "param"}
        assert when
        assert step


def test_errors_stand_under_the_head_they_inherit_from():
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")

    for head, section in re.findall(r"^## .*: `([a-z_]+)`$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        assert all(issubclass(ERRORS[code], ERRORS[head]) for code in rows_of(section))


def test_the_tree_drawn_in_the_code_is_the_tree():
    drawn = re.findall(r"^([│ ├└─]+)(\w+) +(\w+)$|^([│ ├└─]+)(\w+) +.*$", errors.__doc__ or "", re.MULTILINE)
    names = {name or other for _, name, _, _, other in drawn}

    assert names == {kind.__name__ for kind in tree()}
    for _, name, code, _, _ in drawn:
        if name:
            assert ERRORS[code].__name__ == name


# Meters and settings


def test_every_meter_is_documented_with_its_parent_and_unit():
    rows = rows_of((REFERENCE / "meters.md").read_text(encoding="utf-8"))

    for name, meter in METERS.items():
        assert rows[name][:2] == [f"`{meter.parent}`" if meter.parent else "", meter.unit]
    assert set(ATTRIBUTES) <= rows.keys()


@pytest.mark.parametrize("kind", [Callfare, AsyncCallfare])
def test_every_setting_is_documented_with_its_default(kind):
    rows = rows_of((REFERENCE / "settings.md").read_text(encoding="utf-8"))
    settings = {name: row for name, row in rows.items() if name.islower()}
    parameters = {name: found for name, found in inspect.signature(kind).parameters.items() if name != "self"}

    assert settings.keys() == parameters.keys()
    for name, found in parameters.items():
        if found.default not in {None, ()}:
            assert settings[name][0] == f"`{found.default}`"


def test_every_variable_of_the_environment_is_documented():
    used = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"\bCALLFARE_[A-Z_]+\b", path.read_text(encoding="utf-8"))
    }

    rows = rows_of((REFERENCE / "settings.md").read_text(encoding="utf-8"))
    assert used == {name for name in rows if name.startswith("CALLFARE_")}


# Folders


def test_every_domain_folder_says_what_it_is_for():
    folders = {part for layer in LAYERS for part in layer if (ROOT / "src/callfare" / part).is_dir()}
    domains = folders & {"usage", "pricing", "ledger", "estimate", "store", "capture", "payments"}

    assert {name for name in domains if not (ROOT / "src/callfare" / name / "README.md").exists()} == set()
