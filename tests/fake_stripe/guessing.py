"""Requests drawn by chance from the SDK's own parameter types: well formed, and rarely sensible."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from callfare.devtools.fake_stripe.catalogue import ROUTES
from callfare.devtools.fake_stripe.routing import Route
from callfare.devtools.fake_stripe.schema import Schema, Types

TEXTS = (
    "",
    "a",
    "usd",
    "eur",
    "true",
    "0",
    "-1",
    "http://127.0.0.1:1/",
    "💥",
    "é" * 50,
    "x" * 600,
    "' OR 1=1",
    "now",
    "{id}",
)
NUMBERS = (0, 1, 2, 50, 500, 1800, -1, 2**31, 99_999_999, 10**17)
TEST_METHODS = (
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_authenticationRequired",
    "pm_card_chargeCustomerFail",
)
DEEPEST = 3


# What makes one of each kind of object, so that guesses have something to act upon: $kind is the last one's id.
SOWN = (
    ("customers", {"payment_method": "pm_card_visa", "invoice_settings[default_payment_method]": "pm_card_visa"}),
    ("products", {"name": "Plan"}),
    ("prices", {"product": "$product", "currency": "usd", "unit_amount": "500", "recurring[interval]": "month"}),
    ("subscriptions", {"customer": "$customer", "items[0][price]": "$price"}),
    ("subscriptions", {"customer": "$customer", "items[0][price]": "$price", "trial_period_days": "3"}),
    ("prices", {"product": "$product", "currency": "usd", "unit_amount": "1800"}),
    (
        "checkout/sessions",
        {
            "mode": "payment",
            "customer": "$customer",
            "success_url": "http://127.0.0.1:1/",
            "line_items[0][price]": "$price",
            "line_items[0][quantity]": "1",
        },
    ),
    (
        "payment_intents",
        {"amount": "900", "currency": "usd", "payment_method": "pm_card_createDispute", "confirm": "true"},
    ),
    ("payment_intents", {"amount": "900", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true"}),
    ("refunds", {"payment_intent": "$payment_intent", "amount": "100"}),
    ("payment_methods", {"type": "card", "card[token]": "tok_visa"}),
    ("setup_intents", {"payment_method": "pm_card_visa"}),
    ("invoiceitems", {"customer": "$customer", "amount": "700", "currency": "usd"}),
    ("invoices", {"customer": "$customer", "pending_invoice_items_behavior": "include"}),
    ("webhook_endpoints", {"url": "http://127.0.0.1:1/", "enabled_events[0]": "customer.deleted"}),
)
LISTED = ("charges", "disputes", "events", "balance_transactions", "invoices", "invoice_payments")


class Guesser:
    """Draws requests; `ids` are those of objects that exist."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.types = Types()
        self.ids: dict[str, list[str]] = {}

    def request(self) -> tuple[str, str, bytes]:
        """Return a method, a path with its query, and a body."""
        route = self.chance.choice(ROUTES)
        path = re.sub(r"\{\w+\}", lambda _: self.id_for(route), route.path)
        paying = [("payment_method", self.chance.choice(TEST_METHODS)), ("expected_amount", "1800")]
        fields = list(self.form(self.params(route))) if route.params else paying
        told = urlencode(fields)
        return (route.method, path, told.encode()) if route.method == "POST" else (route.method, f"{path}?{told}", b"")

    async def sow(self, ask: Callable[[str, str, bytes], Awaitable[Any]]) -> None:
        """Make one of each kind of object."""
        for path, told in SOWN:
            fields = {name: self.ids[text[1:]][-1] if text.startswith("$") else text for name, text in told.items()}
            self.note(await ask("POST", f"/v1/{path}", urlencode(fields).encode()))
        for path in LISTED:
            for each in (await ask("GET", f"/v1/{path}", b""))["data"]:
                self.note(each)

    def note(self, answer: Any) -> None:
        """Remember the id of what was answered."""
        if "id" in answer and not answer.get("deleted"):
            self.ids.setdefault(answer["object"], []).append(answer["id"])

    def id_for(self, route: Route) -> str:
        """Return the id of something that a path may mean, or of anything."""
        named = route.path.split("/")[2].rstrip("s").replace("payment_page", "checkout")
        kind = named if self.chance.random() < 0.9 else ""
        known = [each for name, each in self.ids.items() if name.replace(".", "_").startswith(kind)] or [["cus_none"]]
        return self.chance.choice(self.chance.choice(known))

    def params(self, route: Route) -> Any:
        """Return the parameters of a request: those it needs, and some others."""
        return self.value(self.types.of_params(route.params), 0, "")

    def value(self, schema: Schema, depth: int, name: str) -> Any:
        """Return a value of a schema."""
        schema = self.types.resolve(schema)
        if "anyOf" in schema:
            return self.value(self.chance.choice(schema["anyOf"]), depth, name)
        if "enum" in schema:
            is_plain = "card" in schema["enum"] and self.chance.random() < 0.7
            return "card" if is_plain else self.chance.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self.fields(schema, depth, name)
            case "array":
                return [self.value(schema["items"], depth + 1, name) for _ in range(self.chance.choice((0, 1, 1, 2)))]
            case "integer":
                return self.chance.choice(NUMBERS)
            case "boolean":
                return self.chance.random() < 0.5
            case "number":
                return 0.5
            case _:
                return self.text(name)

    def text(self, name: str) -> str:
        """Return a text that fits its name, more often than not."""
        if self.chance.random() < 0.7:
            if name == "token":
                return "tok_visa"
            if "payment_method" in name:
                return self.chance.choice((*TEST_METHODS, *self.ids.get("payment_method", [])))
            for kind, ids in self.ids.items():
                if name == kind.rpartition(".")[2]:
                    return self.chance.choice(ids)
            if "url" in name:
                return "http://127.0.0.1:1/"
            if name == "currency":
                return self.chance.choice(("usd", "eur", "jpy"))
        return self.chance.choice(TEXTS)

    def fields(self, schema: Schema, depth: int, name: str) -> dict[str, Any]:
        """Return an object with what it needs and some of what it may have."""
        properties: dict[str, Schema] = schema.get("properties", {})
        if not properties and schema.get("additionalProperties") is not False:
            return {"order": self.chance.choice(TEXTS)}
        likely = 0.5 if depth == 0 else 0.3
        return {
            key: self.value(inner, depth + 1, key)
            for key, inner in properties.items()
            if key in schema["required"] or (depth < DEEPEST and key != "expand" and self.chance.random() < likely)
        }

    def form(self, value: Any, path: str = "") -> Any:
        """Yield the fields of a form as the SDK writes them."""
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from self.form(inner, f"{path}[{key}]" if path else key)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                yield from self.form(inner, f"{path}[{number}]")
        else:
            yield path, str(value).lower() if isinstance(value, bool) else str(value)
