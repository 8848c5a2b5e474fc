"""The demo's second opinion: what a call costs, worked out in fractions from the specification's table alone.

Uses nothing of callfare's pricing, so that the two can be compared. Knows the models and sizes of the demo and refuses
any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from callfare.answers import Call
from callfare.money import Credits, Usd

# seed/billing.md, Pricing. Dollars for one token, character, second or image.
_INPUT_TOKEN = Fraction("0.15") / 1_000_000
_OUTPUT_TOKEN = Fraction("0.60") / 1_000_000
_CHARACTER = Fraction("12.00") / 1_000_000
_SECOND_OF_SOUND = Fraction("0.006") / 60
_IMAGE = {"1024x1024": Fraction("0.04"), "1024x1536": Fraction("0.08"), "1536x1024": Fraction("0.08")}
_SECOND_OF_VIDEO = {"1280x720": Fraction("0.04"), "720x1280": Fraction("0.04")}
_CREDITS_PER_DOLLAR = 100


def usd_by_hand(operation: str, usage: Mapping[str, Fraction | int], size: str) -> Fraction:
    """Return what a call costs in dollars, as a fraction.

    Raises KeyError for a kind of call, a unit or a size that the demo does not make.
    """
    match operation:
        case "chat" | "responses":
            return usage["input_tokens"] * _INPUT_TOKEN + usage["output_tokens"] * _OUTPUT_TOKEN
        case "speech":
            return usage["characters"] * _CHARACTER
        case "transcription":
            return usage["audio_seconds"] * _SECOND_OF_SOUND
        case "image":
            return usage["images"] * _IMAGE[size]
        case "video":
            return usage["video_seconds"] * _SECOND_OF_VIDEO[size]
        case _:
            raise KeyError(operation)


def differences(calls: Iterable[Call]) -> tuple[Fraction, list[str]]:
    """Return the credits that calls cost by hand, and a sentence for each whose recorded cost is another.

    A second attempt of a step costs the operator, and its user nothing.
    """
    total = Fraction(0)
    faults = []
    for call in calls:
        cost = usd_by_hand(call.operation, call.usage, call.attributes.get("size", ""))
        charge = Fraction(0) if "attempt" in call.flags else cost * _CREDITS_PER_DOLLAR
        total += charge
        if exactly(call.cost) != cost:
            faults.append(f"{call.id} cost ${call.cost} in the ledger and ${cost} by hand")
        if exactly(call.credits) != charge:
            faults.append(f"{call.id} was charged {call.credits} credits and comes to {charge} by hand")
    return total, faults


def exactly(amount: Credits | Usd) -> Fraction:
    """Return an amount as a fraction, exactly."""
    return Fraction(str(amount))
