"""Values that nobody should accept, each with the code that refuses it; `test_refusals` gives them to all arguments."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from tests.facade.doors import START

Cases = dict[str, tuple[Any, str]]


class Odd:
    """An object of no use."""


def coded(code: str, **values: Any) -> Cases:
    """Return values that one code refuses."""
    return {name.replace("_", " "): (value, code) for name, value in values.items()}


def nested(depth: int) -> dict[str, Any]:
    """Return a mapping that nests so deep."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def bomb(levels: int) -> list[Any]:
    """Return a small object that takes 2^levels characters when written out."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value, value]
    return value


def ring() -> dict[str, Any]:
    """Return a mapping that holds itself."""
    value: dict[str, Any] = {}
    value["a"] = value
    return value


# What is no text, and text that is not clean.

NO_TEXT = {
    "bytes": b"alice",
    "number": 5,
    "boolean": True,
    "list": ["a"],
    "empty list": [],
    "mapping": {},
    "object": Odd(),
    "float": 1.5,
    "zero": 0,
    "false": False,
}
NOT_CLEAN = {
    "NUL": "a\x00b",
    "newline": "a\nb",
    "escape": "\x1b[31m",
    "delete": "a\x7f",
    "C1": "a\x85",
    "half": "\ud83d",
    "other half": "a\udc00",
    "line separator": "a\u2028",
    "paragraph separator": "\u2029",
}


def no_name(code: str, length_max: int = 255, *, but: tuple[str, ...] = ()) -> Cases:
    """Return what is no text of 1 to `length_max` clean characters, without the cases named."""
    values = (
        NO_TEXT
        | NOT_CLEAN
        | {
            "none": None,
            "empty": "",
            "too long": "a" * (length_max + 1),
            "far too long": "\U0001f642" * 100_000,
            "too many bytes": "\U0001f642" * (length_max * 5 // 8 + 1),
        }
    )
    return {name: (value, code) for name, value in values.items() if name not in but}


# Amounts of credit.

NO_AMOUNT = coded(
    "invalid_amount",
    not_a_number=Decimal("NaN"),
    signalling=Decimal("sNaN"),
    infinity=Decimal("Infinity"),
    minus_infinity=Decimal("-Inf"),
    text_nan="NaN",
    text_infinity="Infinity",
    true=True,
    false=False,
    float=18.5,
    float_nan=float("nan"),
    float_infinity=float("inf"),
    float_whole=18.0,
    none=None,
    bytes=b"5",
    list=[5],
    empty_list=[],
    mapping={},
    object=Odd(),
    fraction=Fraction(1, 3),
    complex=1j,
    exponent="1e3",
    comma="1,5",
    empty="",
    space=" 5",
    plus="+5",
    arabic="\u0663",
    underscore="1_000",
    hexadecimal="0x10",
    finer_than_nine="0.0000000001",
    finer_decimal=Decimal("1E-10"),
    words="five",
    thousands_of_digits="9" * 5000,
    time=datetime(2026, 1, 1, tzinfo=UTC),
)
OUT_OF_RANGE = coded(
    "amount_out_of_range",
    int64=2**63,
    a_nanocredit_too_many="9223372036.854775808",
    ten_to_thirty=10**30,
    text_ten_to_thirty="1" + "0" * 30,
    great_decimal=Decimal("1E+400"),
    tiny_decimal=Decimal("1E-400"),
    thousands_of_digits_int=10**5000,
    below=-(2**63),
)
NEGATIVE = coded("invalid_amount", negative=-1, negative_text="-0.000000001", negative_decimal=Decimal(-5))
NOTHING = coded("invalid_amount", zero=0, zero_text="0", zero_decimal=Decimal("0.0"), minus_zero="-0")

# Usage: quantities of meters.

QUANTITIES = {
    "negative": -1,
    "negative text": "-1",
    "not a number": Decimal("NaN"),
    "signalling": Decimal("sNaN"),
    "infinity": Decimal("Infinity"),
    "text nan": "nan",
    "true": True,
    "false": False,
    "none": None,
    "float": 1.0,
    "float nan": float("nan"),
    "float infinity": float("inf"),
    "too many": 10**12 + 1,
    "far too many": 10**5000,
    "text too many": "1000000000001",
    "half a token": Fraction(1, 2),
    "half a token text": "0.5",
    "list": [1],
    "bytes": b"1",
    "mapping": {"a": 1},
    "object": Odd(),
    "complex": 1j,
    "exponent": "1e3",
    "empty": "",
    "words": "many",
    "great": Decimal("1E+400"),
    "tiny": Decimal("1E-400"),
    "by zero": "1/0",
    "arabic": "\u0663",
    "long text": "9" * 5000,
}
SECONDS = {
    "negative": -0.1,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "too many": 1e12 + 1,
    "great": 1e300,
    "tiny": 5e-324,
    "true": True,
    "finer than thirty decimals": Fraction(1, 10**31),
}
NO_USAGE: Cases = (
    {f"tokens {name}": ({"input_tokens": value}, "invalid_quantity") for name, value in QUANTITIES.items()}
    | {f"seconds {name}": ({"audio_seconds": value}, "invalid_quantity") for name, value in SECONDS.items()}
    | coded(
        "invalid_quantity",
        none=None,
        empty={},
        list=[("input_tokens", 1)],
        text="input_tokens",
        bytes=b"x",
        number=5,
        true=True,
        object=Odd(),
        parts_above_whole={"input_tokens": 10, "cached_input_tokens": 11},
        parts_together_above_whole={"output_tokens": 10, "reasoning_tokens": 6, "output_audio_tokens": 5},
    )
    | coded(
        "unknown_meter",
        unknown={"cups_of_tea": 1},
        unknown_beside_known={"input_tokens": 1, "cups": 1},
        case={"Input_Tokens": 1},
        number_as_name={5: 1},
        none_as_name={None: 1},
        empty_name={"": 1},
        half_a_character={"\ud800": 1},
        long_name={"a" * 10_000: 1},
    )
)

# Attributes.

NO_ATTRIBUTES: Cases = {
    name: (value, "invalid_input")
    for name, value in {
        "list": [],
        "tuple": (),
        "text": "size",
        "empty text": "",
        "zero": 0,
        "false": False,
        "true": True,
        "number": 5,
        "bytes": b"",
        "object": Odd(),
        "unknown": {"weight": "1"},
        "unknown half": {"\ud800": "1"},
        "number as name": {5: "1"},
        "none as name": {None: "1"},
        "number as value": {"size": 5},
        "none as value": {"size": None},
        "empty": {"size": ""},
        "long": {"size": "x" * 129},
        "NUL": {"size": "a\x00"},
        "half": {"size": "\ud800"},
        "list as value": {"size": ["a"]},
        "boolean": {"size": True},
    }.items()
}

# Metadata, and the input of a run.

NO_METADATA: Cases = {
    name: (value, "invalid_metadata")
    for name, value in {
        "text": "a",
        "empty text": "",
        "list": [],
        "zero": 0,
        "false": False,
        "true": True,
        "bytes": b"{}",
        "object": Odd(),
        "a byte too large": {"a": "x" * (16 * 1024 - 7)},
        "too large": {"a": "x" * 16 * 1024},
        "too large in bytes": {"a": "\u00e9" * 8 * 1024},
        "far too large": {"a": "x" * 10**7},
        "too many": {"a": [1] * 20_000},
        "33 deep": nested(32),
        "1000 deep": nested(1000),
        "100000 deep": nested(100_000),
        "1000 deep list": {"a": [nested(1000)]},
        "bomb": {"a": bomb(30)},
        "ring": ring(),
        "number as name": {5: 1},
        "none as name": {None: 1},
        "boolean as name": {True: 1},
        "bytes as name": {b"a": 1},
        "tuple as name": {(1, 2): 1},
        "inner number as name": {"a": {"b": {1: 2}}},
        "not a number": {"a": float("nan")},
        "infinity": {"a": [float("inf")]},
        "decimal": {"a": Decimal(1)},
        "bytes inside": {"a": b"x"},
        "set": {"a": {1}},
        "object inside": {"a": Odd()},
        "time": {"a": datetime(2026, 1, 1, tzinfo=UTC)},
        "NUL": {"a": "x\x00"},
        "NUL in name": {"\x00": 1},
        "half": {"a": "\ud800"},
        "half in name": {"\ud800": 1},
        "complex": {"a": 1j},
        "digits": {"a": 10**5000},
    }.items()
}
PLAIN_METADATA = {
    "empty": {},
    "32 deep": nested(31) | {"b": 1},
    "read only": MappingProxyType({"a": MappingProxyType({"b": (1, 2)})}),
    "emoji": {"\U0001f642": "\U0001f642"},
    "as large as may be": {"a": "x" * (16 * 1024 - 8)},
    "float": {"a": 0.1},
    "great": {"a": 2**63},
    "null": {"a": None},
}

# Times.


class Nowhere(tzinfo):
    """A zone that does not know its offset."""

    def utcoffset(self, _moment: datetime | None) -> timedelta | None:
        """Return nothing."""
        return None


NO_TIME = coded(
    "invalid_time",
    naive=START.replace(tzinfo=None),
    text="2026-11-23T12:00:00Z",
    number=1_763_900_000,
    float=1.7e9,
    date=datetime(2026, 11, 23, tzinfo=UTC).date(),
    true=True,
    list=[],
    bytes=b"now",
    object=Odd(),
    no_offset=datetime(2026, 11, 23, tzinfo=Nowhere()),
    no_zone_at_all=datetime(2026, 11, 23, tzinfo=tzinfo()),
    beyond_the_calendar=datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
)
NOT_AN_EVENT = coded(
    "invalid_time",
    far_past=datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    first=datetime.min.replace(tzinfo=UTC),
    before_the_calendar=datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    in_six_minutes=datetime(2026, 11, 23, 12, 6, tzinfo=UTC),
    next_year=datetime(2027, 11, 23, tzinfo=UTC),
    far_future=datetime.max.replace(tzinfo=UTC),
)
NOT_TO_COME = coded(
    "invalid_time",
    now=datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
    past=datetime(2020, 1, 1, tzinfo=UTC),
    first=datetime.min.replace(tzinfo=UTC),
)


def no_choice(**more: Any) -> Cases:
    """Return what is none of a few words."""
    values: dict[str, Any] = (
        NO_TEXT | {"none": None, "empty": "", "other": "sideways", "half": "\ud800", "set": set()} | more
    )
    return {name: (value, "invalid_input") for name, value in values.items()}


def no_whole(*, least: int, most: int) -> Cases:
    """Return what is no whole number within bounds."""
    values = {
        "below": least - 1,
        "above": most + 1,
        "far above": 10**5000,
        "true": True,
        "false": False,
        "float": 5.0,
        "text": "5",
        "none": None,
        "decimal": Decimal(5),
        "list": [],
        "object": Odd(),
        "not a number": float("nan"),
    }
    return {name: (value, "invalid_input") for name, value in values.items()}


ZONES = {
    name: (value, "invalid_input")
    for name, value in (
        {
            repr(zone): zone
            for zone in [
                "Mars/Olympus",
                "utc+1",
                "+05:45",
                "Europe",
                "America/",
                "../UTC",
                "/etc/localtime",
                "\u00dcnzone",
            ]
        }
        | NO_TEXT
        | NOT_CLEAN
        | {"none": None, "empty": "", "long": "a" * 300, "zone": UTC}
    ).items()
}


# Cursors that no page gave.


def forged(content: bytes) -> str:
    """Return content in the dress of a cursor."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


CURSORS: Cases = {
    name: (value, "invalid_input")
    for name, value in {
        "empty": "",
        "not base64": "!!!!",
        "not ascii": "ü",
        "surrogate": "\ud800",
        "not json": forged(b"hello"),
        "null": forged(b"null"),
        "object": forged(b'{"a":1}'),
        "too short": forged(b"[1]"),
        "too long": forged(b'[1,"a",2]'),
        "text for number": forged(b'["1","a"]'),
        "boolean": forged(b'[true,"a"]'),
        "float": forged(b'[1.0,"a"]'),
        "not a number": forged(b'[NaN,"a"]'),
        "beyond 64 bits": forged(b'[99999999999999999999,"a"]'),
        "thousands of digits": forged(b"[" + b"9" * 5000 + b',"a"]'),
        "below zero": forged(b'[-2,"a"]'),
        "name missing": forged(b"[1,null]"),
        "name is a list": forged(b'[1,["a"]]'),
        "half a character": forged(b'[1,"\\ud800"]'),
        "control character": forged(b'[1,"\\u0000"]'),
        "nested": forged(b"[" * 20_000),
        "huge": "A" * 1_000_000,
        "spaces": forged(b'[1,  "a"]'),
        "padded": base64.urlsafe_b64encode(b'[1, "ab"]').decode() + "=",
        "bytes": b"WzEsICJhIl0",
        "number": 5,
        "list": [1, "a"],
    }.items()
}
