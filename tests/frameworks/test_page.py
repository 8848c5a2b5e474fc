"""The frameworks' own libraries tell of their calls, as docs/howto/frameworks.md says."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI
from openai import OpenAI

from callfare import Callfare

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "frameworks.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)

pytestmark = pytest.mark.filterwarnings("default")


def test_the_page_runs_and_prints_what_it_says(stand_in, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    # litellm asks for another major of OpenAI's SDK than LangChain: it is not in this environment.
    code = "\n".join(block for block in blocks if "litellm" not in block or find_spec("litellm"))

    exec(compile(code, PAGE.name, "exec"), {"__name__": "page"})  # noqa: S102 - our own document

    assert capsys.readouterr().out.splitlines() == PRINTED.findall(code)


@pytest.fixture
def fare():
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        yield fare


@pytest.mark.parametrize("streams", [False, True])
def test_langchain_over_a_wrapped_client_is_charged_once(fare, stand_in, streams):
    client = fare.wrap(OpenAI())
    model = ChatOpenAI(
        model="gpt-5-mini",
        client=client.chat.completions,
        root_client=client,
        stream_usage=True,
        callbacks=[fare.listener("langchain")],
    )

    with fare.run("story", user="alice") as run:
        if streams:
            list(model.stream("hi there"))
        else:
            model.invoke("hi there")

    [call] = fare.calls(run).items
    assert call.usage == {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 121, "reasoning_tokens": 64}


@pytest.mark.parametrize("streams", [False, True])
def test_langchain_alone_is_charged_by_what_it_tells(fare, stand_in, streams):
    model = ChatOpenAI(model="gpt-5-mini", stream_usage=True, callbacks=[fare.listener("langchain")])

    with fare.run("story", user="alice") as run:
        if streams:
            list(model.stream("hi there"))
        else:
            model.invoke("hi there")

    [call] = fare.calls(run).items
    assert call.usage == {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 121, "reasoning_tokens": 64}
    assert (call.provider, call.status) == ("openai", "priced")
