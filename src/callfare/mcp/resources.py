"""What a host may put before its assistant without a call: the price book, the packages, a user's balance. All JSON."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from callfare.auth.principal import Principal
from callfare.errors import NotFound
from callfare.mcp import wire
from callfare.mcp.asker import Asker
from callfare.mcp.reader import Reader
from callfare.server.rules import API, RULES, Rule

BALANCE_TEMPLATE = "billing://users/{user_id}/balance"
_BALANCE = re.compile(r"billing://users/(?P<user>[^/?#]{1,3072})/balance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource, and the rule it stands under."""

    uri: str
    name: str
    title: str
    description: str
    rule: Rule
    read: Callable[[Reader, Asker], Awaitable[wire.Answered]]


async def _prices(reader: Reader, asker: Asker) -> wire.Answered:
    del asker
    return await reader.prices()


async def _packages(reader: Reader, asker: Asker) -> wire.Answered:
    del asker
    return wire.Packages.of(await reader.packages())


_PRICES = Resource(
    uri="billing://pricebook",
    name="pricebook",
    title="Price book",
    description="The rates in force for each model, in exact US dollars per so many of a meter, with their source.",
    rule=RULES["POST", f"{API}/price"],
    read=_prices,
)
_PACKAGES = Resource(
    uri="billing://packages",
    name="packages",
    title="Credit packages",
    description="The packages of credits for sale.",
    rule=RULES["GET", f"{API}/packages"],
    read=_packages,
)
BALANCE_RULE = RULES["GET", f"{API}/balance"]


def balance_of(user: str) -> Resource:
    """Return the resource that is a user's balance."""

    async def read(reader: Reader, asker: Asker) -> wire.Answered:
        return wire.Balance.of(await reader.balance(asker.one_user(user)))

    return Resource(
        uri=f"billing://users/{quote(user, safe='')}/balance",
        name="balance",
        title="Credit balance",
        description="What the user has left, what open runs hold of it, and any debt.",
        rule=BALANCE_RULE,
        read=read,
    )


def listed(principal: Principal) -> list[Resource]:
    """Return the resources that whoever asks may read and that can be named."""
    found = [_PRICES, _PACKAGES]
    if principal.user is not None:
        found.append(balance_of(principal.user))
    return [one for one in found if Asker(principal=principal, rule=one.rule).may]


def resource_at(uri: str) -> Resource:
    """Return the resource of an address, whether or not there is a user of that name.

    Raises NotFound.
    """
    for one in (_PRICES, _PACKAGES):
        if uri == one.uri:
            return one
    parts = _BALANCE.fullmatch(uri)
    if parts is not None:
        try:
            return balance_of(unquote(parts["user"], errors="strict"))
        except UnicodeDecodeError:
            pass
    raise NotFound("there is no such resource", param="uri")
