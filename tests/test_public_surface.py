"""The public surface: what is exported, that both façades say the same, and that they say which errors they raise."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import callfare
from callfare import AsyncCallfare, AsyncRun, Callfare, CallfareError, Run, answers, errors
from callfare.clock import Clock
from callfare.handle import RunHandle

TWINS = [(Callfare, AsyncCallfare), (Run, AsyncRun)]
# These neither read nor write the ledger where they are called.
NEVER_AWAITED = {"active", "id", "left", "listener", "metered", "receipt", "run", "step", "user", "workflow", "wrap"}
NOT_EXPORTED = {
    Clock: "a protocol for tests, beside the clocks that keep it",
    RunHandle: "what both kinds of run have in common; the kinds themselves are exported",
}
RAISES = re.compile(r"[Rr]aises ([^.]+)\.")
# Below the payments: what a gateway says, each of them a `payments_unavailable`, and a message that has to wait.
OTHERS = {
    "BrokenPipeError",
    "KeyError",
    "ValueError",
    "ProcessorAway",
    "ProcessorRefused",
    "GoneCustomer",
    "ObjectGone",
    "OrderMissing",
}


def members(kind: type) -> dict[str, Any]:
    """Return the public methods and properties of a class."""
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


def function_of(member: Any) -> Any:
    return member.fget if isinstance(member, property) else member


def parameters(member: Any) -> list[tuple[str, Any, Any, Any]]:
    found = inspect.signature(function_of(member)).parameters.values()
    return [(one.name, one.kind, one.default, one.annotation) for one in found]


def returned(member: Any) -> str:
    return str(inspect.signature(function_of(member)).return_annotation)


# Exports


def test_what_is_exported_is_sorted_and_there():
    assert callfare.__all__ == sorted(callfare.__all__)
    assert [name for name in callfare.__all__ if not hasattr(callfare, name)] == []


def test_everything_imported_is_exported():
    visible = {
        name
        for name, value in vars(callfare).items()
        if not name.startswith("_") and not (inspect.ismodule(value) and value is not errors)
    }

    assert visible == set(callfare.__all__)


def mentioned(annotation: Any) -> Iterator[Any]:
    """Yield the classes that an annotation mentions."""
    for argument in typing.get_args(annotation):
        yield from mentioned(argument)
    kind = typing.get_origin(annotation) or annotation
    if inspect.isclass(kind):
        yield kind


def reachable() -> set[type]:
    """Return our classes that a caller meets: what methods take and return, and what stands inside that."""
    waiting: list[type] = [kind for twins in TWINS for kind in twins]
    seen: set[type] = set()
    while waiting:
        kind = waiting.pop()
        if kind in seen or not kind.__module__.startswith("callfare"):
            continue
        seen.add(kind)
        if dataclasses.is_dataclass(kind):
            hints = [typing.get_type_hints(kind)]
        elif kind in {one for twins in TWINS for one in twins}:
            hints = [typing.get_type_hints(function_of(member)) for member in members(kind).values()]
        else:
            hints = []
        waiting += [found for hint in hints for annotation in hint.values() for found in mentioned(annotation)]
    return seen


def test_every_class_that_a_caller_meets_is_exported():
    exported = {getattr(callfare, name) for name in callfare.__all__}

    assert {kind.__name__ for kind in reachable() - exported - NOT_EXPORTED.keys()} == set()


def test_every_answer_is_exported():
    own = {
        name for name, kind in vars(answers).items() if inspect.isclass(kind) and kind.__module__ == answers.__name__
    }

    assert own <= set(callfare.__all__)


def test_every_answer_is_immutable_and_has_plain_values():
    for kind in (getattr(callfare, name) for name in callfare.__all__):
        if not dataclasses.is_dataclass(kind) or kind in {callfare.Credits, callfare.Usd}:
            continue
        assert kind.__dataclass_params__.frozen, kind
        for annotation in typing.get_type_hints(kind).values():
            for found in mentioned(annotation):
                assert found is not float, f"{kind.__name__} answers a float"
                assert not issubclass(found, Enum), f"{kind.__name__} answers an enum"


def test_errors_are_reached_through_one_module():
    assert {name for name in vars(errors) if not name.startswith("_")} >= {"CallfareError", "Refused", "InvalidInput"}
    assert issubclass(callfare.InsufficientCredit, CallfareError)


# Twins


@pytest.mark.parametrize(("kind", "twin"), TWINS, ids=["façade", "run"])
def test_both_kinds_have_the_same_methods(kind, twin):
    assert set(members(kind)) == set(members(twin))


@pytest.mark.parametrize(("kind", "twin"), TWINS, ids=["façade", "run"])
def test_both_kinds_take_the_same_arguments(kind, twin):
    for name, member in members(kind).items():
        assert parameters(member) == parameters(members(twin)[name]), name
    assert parameters(kind.__init__) == parameters(twin.__init__)


@pytest.mark.parametrize(("kind", "twin"), TWINS, ids=["façade", "run"])
def test_both_kinds_answer_the_same(kind, twin):
    for name, member in members(kind).items():
        answer = returned(members(twin)[name])
        assert re.sub(r"\bAsync(?=Run\b)", "", answer) == returned(member), name


@pytest.mark.parametrize(("kind", "twin"), TWINS, ids=["façade", "run"])
def test_the_async_kind_waits_wherever_the_ledger_is_asked(kind, twin):
    awaited = {name for name, member in members(twin).items() if inspect.iscoroutinefunction(member)}

    assert awaited == set(members(kind)) - NEVER_AWAITED
    assert not any(inspect.iscoroutinefunction(member) for member in members(kind).values())


@pytest.mark.parametrize(("kind", "twin"), TWINS, ids=["façade", "run"])
def test_both_kinds_say_the_same_of_themselves(kind, twin):
    for name, member in members(kind).items():
        text, other = (inspect.getdoc(function_of(one)) or "" for one in (member, members(twin)[name]))
        assert RAISES.findall(text) == RAISES.findall(other), name
        assert text.replace("`with`", "").splitlines()[1:] == other.replace("`async with`", "").splitlines()[1:], name


@pytest.mark.parametrize("kind", [one for twins in TWINS for one in twins])
def test_every_argument_has_a_type_and_every_method_a_docstring(kind):
    for name, member in members(kind).items():
        assert inspect.getdoc(function_of(member)), name
        assert all(
            one.annotation is not one.empty
            for one in list(inspect.signature(function_of(member)).parameters.values())[1:]
        ), name
        assert inspect.signature(function_of(member)).return_annotation is not inspect.Signature.empty, name


@pytest.mark.parametrize("kind", [one for twins in TWINS for one in twins])
def test_amounts_keys_and_times_are_named_where_they_are_given(kind):
    for name, member in members(kind).items():
        for one in inspect.signature(function_of(member)).parameters.values():
            if one.name in {"key", "at", "since", "until", "expires_at", "tz", "hold", "ttl_s", "run_id"} and (
                name != "close_run"
            ):
                assert one.kind is one.KEYWORD_ONLY, f"{name}({one.name})"


# Errors in docstrings


def docstrings() -> Iterator[tuple[str, str]]:
    for path in sorted(Path(callfare.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for found in re.findall(r'"""(.*?)"""', text, re.DOTALL):
            if RAISES.search(found):
                yield path.name, " ".join(found.split())


def test_every_error_that_a_docstring_says_is_one():
    unknown = {
        (where, name)
        for where, text in docstrings()
        for sentence in RAISES.findall(text)
        for name in re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", sentence)
        if not hasattr(errors, name) and name not in OTHERS
    }

    assert unknown == set()
    assert len(list(docstrings())) > 50


def test_only_errors_of_the_tree_are_raised_on_purpose():
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]

    assert all(issubclass(kind, CallfareError) for kind in kinds)


# Plain values


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer with one field."""

    field: Any


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (callfare.Credits("0.000000001"), "0.000000001"),
        (callfare.Usd("-12.5"), "-12.5"),
        ("ü", "ü"),
        (3, 3),
        (None, None),
        (True, True),
        (Fraction(1, 3), "1/3"),
        (Fraction("8.47"), "8.47"),
        (Decimal("6E-6"), "0.000006"),
        (datetime.fromisoformat("2026-11-23T12:00:00.000001+00:00"), "2026-11-23T12:00:00.000001Z"),
        (types.MappingProxyType({"a": (callfare.Credits(1), None)}), {"a": ["1", None]}),
        (Answer(Answer(callfare.Credits(2))), {"field": {"field": "2"}}),
    ],
    ids=str,
)
def test_any_answer_becomes_plain_values(value, plain):
    assert callfare.plain(Answer(value)) == {"field": plain}
