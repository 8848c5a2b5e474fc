"""What all bodies share: JSON in camelCase, money as exact decimal text with its unit in the name.

The folder is the only place with pydantic models. An asked body with a name that is not here is refused; answers may
gain names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, StrictFloat, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

from callfare.money import Credits
from callfare.usage.quantities import Quantity, quantity_text

CreditsText = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]{1,9})?$", examples=["1999.961"])]
UsdText = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]{1,12})?$", examples=["0.00039"])]
QuantityText = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+|/[0-9]+)?$", examples=["1200"])]
Amount = Annotated[
    StrictInt | Annotated[StrictStr, Field(max_length=64)],
    Field(description="Exact: a whole number, or decimal text such as 18.5; never a float.", examples=["2000"]),
]
Quantities = Annotated[
    dict[str, StrictInt | StrictStr | StrictFloat],
    Field(description="Meter to quantity; decimal text is exact.", examples=[{"input_tokens": 1200}]),
]
Moment = Annotated[AwareDatetime, Strict()]
Plain = Annotated[dict[str, Any], Field(description="Plain JSON, at most 16 KiB.")]
UserId = Annotated[StrictStr, Field(min_length=1, max_length=255, examples=["user_123"])]
Text = Annotated[StrictStr, Field(max_length=255)]


class Asked(BaseModel):
    """The base of request bodies: names as they are on the wire, and no others."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class Answer(BaseModel):
    """The base of answers."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True, frozen=True, extra="forbid"
    )

    def body(self) -> bytes:
        """Return the answer as JSON."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True)


class ErrorFacts(BaseModel):
    """What went wrong. Beside these names stand the numbers of the error, such as `needed` and `available`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "code": "insufficient_credit",
                    "message": "user_123 needs 100 credits and has 12.5 available, 87.5 short",
                    "param": None,
                    "request_id": "req_01k9x3a5c8e7g2h4j6m0n1p2q3",
                    "needed": "100",
                    "available": "12.5",
                    "shortfall": "87.5",
                }
            ]
        },
    )

    code: str
    message: str
    param: str | None
    request_id: str


class Problem(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorFacts


def quantities(units: Mapping[str, Quantity]) -> dict[str, str]:
    """Return quantities as exact text."""
    return {meter: quantity_text(quantity) for meter, quantity in units.items()}


def text_of(amount: Credits | None) -> str | None:
    """Return an amount as exact text, None for None."""
    return None if amount is None else str(amount)
