"""docs/howto/add-a-provider.md, followed to the letter for a provider that does not exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from openai import OpenAI

from callfare import Callfare
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.devtools.stand_in import StandIn, StandInHandler
from callfare.pricing.load import load_book
from callfare.pricing.rating import rate_finished
from tests.capture.fake_meter import FakeMeter

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "howto" / "add-a-provider.md").read_text(encoding="utf-8")
ROW, SDK_ROW, WRAPPED_ROW, BOOK = (
    re.sub("^   ", "", block, flags=re.MULTILINE) if block.startswith("   ") else block
    for block in re.findall(r"^ *```toml\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
)
CALL = """
from openai import OpenAI
from callfare import Callfare

with Callfare("memory://") as fare, OpenAI() as bare, fare.user("alice"):
    fare.grant("alice", 10, key="k")
    with fare.run("story", user="alice", hold=1) as run:
        fare.wrap(bare).chat.completions.create(model="acme-speak", messages=[{"role": "user", "content": "hi there"}])
    [call] = fare.calls(run).items
    print(call.provider, call.status, call.cost)
"""


def test_a_row_of_hosts_and_a_model_among_the_books_are_all_it_takes(tmp_path):
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    providers, books = source / "callfare/capture/providers.toml", source / "callfare/pricing/books/media.toml"
    providers.write_text(providers.read_text() + "\n" + ROW.replace("api.acme.example", "127.0.0.1"))
    books.write_text(books.read_text() + "\n" + BOOK.partition("\n\n")[2])

    with FakeOpenAI() as fake:
        where = {"PYTHONPATH": str(source), "OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "none"}
        told = subprocess.run(
            [sys.executable, "-c", CALL],
            env=os.environ | where,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )

    # 5 read at $0.60 and 57 written at $12 a million.
    assert told.stdout == "acme priced 0.000687\n"


def test_a_provider_is_tried_without_touching_callfare(tmp_path):
    (tmp_path / "acme.toml").write_text(BOOK)
    question = [{"role": "user", "content": "hi there"}]

    with (
        FakeOpenAI() as fake,
        OpenAI(base_url=fake.base_url, api_key="none") as bare,
        Callfare("memory://", books=[tmp_path / "acme.toml"]) as fare,
    ):
        fare.grant("alice", 10, key="k")
        with fare.run("story", user="alice", hold=1) as run:
            fare.wrap(bare, provider="acme").chat.completions.create(model="acme-speak", messages=question)
        [call] = fare.calls(run).items

    # 5 read at $0.60 and 57 written at $12 a million.
    assert (call.provider, call.status, str(call.cost)) == ("acme", "priced", "0.000687")


def test_a_row_of_an_sdk_is_all_that_its_clients_take(tmp_path):
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    providers, books = source / "callfare/capture/providers.toml", source / "callfare/pricing/books/media.toml"
    providers.write_text(providers.read_text() + "\n" + SDK_ROW)
    books.write_text(books.read_text() + "\n" + BOOK.partition("\n\n")[2])
    # As an SDK of its own would be.
    (tmp_path / "acme.py").write_text("import openai\nclass Acme(openai.OpenAI): pass\n")
    call = CALL.replace("from openai import OpenAI", "from acme import Acme as OpenAI")

    with FakeOpenAI() as fake:
        where = {"PYTHONPATH": f"{source}:{tmp_path}", "OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "none"}
        told = subprocess.run(
            [sys.executable, "-c", call],
            env=os.environ | where,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )

    assert told.stdout == "acme priced 0.000687\n"


@pytest.mark.parametrize(
    ("usage", "attributes", "usd"),
    [
        ({"input_tokens": 1000, "output_tokens": 100}, {}, "0.0018"),
        ({"input_tokens": 1000, "output_tokens": 100}, {"service_tier": "batch"}, "0.0009"),
        ({"characters": 1000}, {}, "0.015"),
        ({"characters": 1000}, {"service_tier": "flex"}, None),
    ],
)
def test_the_book_of_the_page_prices_as_it_says(usage, attributes, usd):
    book = load_book(BOOK, name="acme.toml")

    found = rate_finished(book, model="acme-speak", usage=usage, attributes=attributes, at_us=10**15, provider="acme")

    assert (found.status == "priced") == (usd is not None)
    assert Fraction(found.picousd, 10**12) == Fraction(usd or 0)


ASK = """
import openai
from acme import Acme
from callfare import Callfare

with Callfare("memory://") as fare, Acme(base_url="URL", api_key="none") as bare:
    fare.grant("alice", 10, key="k")
    with fare.run("story", user="alice", hold=1) as run:
        asked = {"model": "acme-speak", "question": "hi there", "most": 40}
        print(fare.wrap(bare).post("/v1/ask", body=asked, cast_to=object)["answer"])
    [call] = fare.calls(run).items
    print(call.provider, call.status, call.cost, dict(call.usage))
"""


class _AcmeHandler(StandInHandler):
    def route(self, path, fields, upload):
        self.write_json({"id": "a1", "read": 5, "written": 9, "answer": "Yes."})

    def error_body(self, status, message):
        return {"error": message}


class FakeAcme(StandIn):
    """An API with one path, whose replies say what was read and written."""

    handler = _AcmeHandler


def test_one_file_and_its_data_are_all_it_takes(tmp_path):
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE.partition("## Prices")[0], re.MULTILINE | re.DOTALL)
    (source / "callfare/capture/acme.py").write_text(code.partition("\nacme, question =")[0])
    providers, books = source / "callfare/capture/providers.toml", source / "callfare/pricing/books/media.toml"
    providers.write_text(providers.read_text() + "\n" + WRAPPED_ROW)
    books.write_text(books.read_text() + "\n" + BOOK.partition("\n\n")[2])
    (tmp_path / "acme.py").write_text("import openai\nclass Acme(openai.OpenAI): pass\n")

    with FakeAcme() as fake:
        told = subprocess.run(
            [sys.executable, "-c", ASK.replace("URL", fake.base_url)],
            env=os.environ | {"PYTHONPATH": f"{source}:{tmp_path}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )

    # 5 read at $0.60 and 9 written at $12 a million.
    assert told.stdout == "Yes.\nacme priced 0.000111 {'input_tokens': 5, 'output_tokens': 9}\n"


class Sdk:
    """A client as the generator of several SDKs makes it."""

    base_url = "https://api.acme.example"

    def post(self, path, *, body=None, options=None, **_rest):
        return {"id": "a1", "read": 5, "written": 9, "answer": "Yes."}

    def get(self, path, *, options=None, **_rest):
        return {}

    def copy(self, **_options):
        return Sdk()

    with_options = copy


def test_the_dialect_of_the_page_meters_a_client():
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE.partition("## Prices")[0], re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, "add-a-provider.md", "exec"), names)  # noqa: S102 - our own document
    meter = FakeMeter()

    client = names["wrap"](Sdk(), meter, user=None)
    client.post("/v1/ask", body={"model": "acme-speak", "question": "hi there", "most": 40})
    client.post("/v1/elsewhere", body={})

    assert meter.ticket.intent.usage == {"input_tokens": 2, "output_tokens": 40}
    assert meter.ticket.usage == {"input_tokens": 5, "output_tokens": 9}
