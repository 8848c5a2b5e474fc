"""docs/reference/api.md names what the code has: every public method, argument, error and field of an answer."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

import callfare
from callfare import Callfare, Run

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `([\w.]+)`$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
RAISES = re.compile(r"[Rr]aises ([^.]+)\.")
AMOUNTS = {"Credits", "Usd"}

MEMBERS = {
    f"{kind.__name__}.{name}": member
    for kind in (Callfare, Run)
    for name, member in inspect.getmembers(kind)
    if not name.startswith("_")
}
ANSWERS = {
    name: getattr(callfare, name)
    for name in callfare.__all__
    if dataclasses.is_dataclass(getattr(callfare, name)) and name not in AMOUNTS
}


def function_of(member: Any) -> Any:
    return member.fget if isinstance(member, property) else member


def written(parameter: inspect.Parameter) -> str:
    """Return a parameter as the page writes it."""
    text = f"{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    default = json.dumps(parameter.default) if isinstance(parameter.default, str) else repr(parameter.default)
    return f"{text} = {default}"


def signature_of(name: str) -> str:
    """Return the signature of a member as the page writes it, in one line."""
    signature = inspect.signature(function_of(MEMBERS[name]))
    short = name.partition(".")[2]
    if isinstance(MEMBERS[name], property):
        return f"{short}: {signature.return_annotation}"
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    texts = [written(one) for one in parameters if one.kind is not one.KEYWORD_ONLY]
    named = [written(one) for one in parameters if one.kind is one.KEYWORD_ONLY]
    texts += ["*", *named] if named else []
    return f"{short}({', '.join(texts)}) -> {signature.return_annotation}"


def shown_signature(name: str) -> str:
    """Return the signature that stands on the page, in one line."""
    (block,) = re.findall(r"^```text\n(.*?)^```", SECTIONS[name], re.MULTILINE | re.DOTALL)
    return " ".join(block.split()).replace("( ", "(").replace(", )", ")")


def test_the_page_has_a_section_for_every_member_and_every_answer_and_no_other():
    assert SECTIONS.keys() == MEMBERS.keys() | ANSWERS.keys()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_signature_on_the_page_is_that_of_the_code(name):
    assert shown_signature(name) == signature_of(name)


@pytest.mark.parametrize("name", MEMBERS)
def test_every_argument_is_explained_in_the_order_of_the_signature(name):
    arguments = [one for one in inspect.signature(function_of(MEMBERS[name])).parameters if one != "self"]

    assert re.findall(r"^\| `(\w+)` \| \S", SECTIONS[name], re.MULTILINE) == arguments


@pytest.mark.parametrize("name", MEMBERS)
def test_every_error_that_a_docstring_names_stands_on_the_page(name):
    told = " ".join(RAISES.findall(function_of(MEMBERS[name]).__doc__))

    assert set(re.findall(r"[A-Z]\w+", told)) <= set(re.findall(r"`(\w+)`", SECTIONS[name]))


@pytest.mark.parametrize("name", ANSWERS)
def test_every_field_of_an_answer_is_named(name):
    (fields,) = re.findall(r"^Fields: (.*?)\.$", SECTIONS[name], re.MULTILINE | re.DOTALL)

    assert re.findall(r"`(\w+)`", fields) == [field.name for field in dataclasses.fields(ANSWERS[name])]


def test_everything_exported_is_named():
    assert [name for name in callfare.__all__ if f"`{name}" not in PAGE] == []
