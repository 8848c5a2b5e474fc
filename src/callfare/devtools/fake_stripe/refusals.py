"""What Stripe answers when it refuses: the shapes and codes of its documented errors, raised from anywhere.

Source of types and codes: Stripe's pages "Errors" and "Error codes".
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_PROPER = {
    "payment_intent": "PaymentIntent",
    "payment_method": "PaymentMethod",
    "setup_intent": "SetupIntent",
    "checkout.session": "checkout.session",
    "webhook_endpoint": "webhook endpoint",
    "billing_portal.configuration": "configuration",
}


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, type: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"type": type, "message": message, **{name: told for name, told in more.items() if told}}
        if "code" in self.error:
            self.error["doc_url"] = f"https://docs.stripe.com/error-codes/{str(self.error['code']).replace('_', '-')}"

    @property
    def body(self) -> Json:
        """What goes over the wire."""
        return {"error": self.error}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> Refusal:
    """Return the refusal of a request that is wrong by itself."""
    return Refusal(400, "invalid_request_error", message, code=code, param=param)


def unexpected_state(message: str, code: str, **more: object) -> Refusal:
    """Return the refusal of a request that the object's state does not allow."""
    return Refusal(400, "invalid_request_error", message, code=code, **more)


def missing(kind: str, id: str, *, param: str | None) -> Refusal:
    """Return the refusal of an id that names nothing: 404 when the path names it, 400 when a parameter does."""
    is_in_path = param in {None, "id", "intent", "session"}
    return Refusal(
        404 if is_in_path else 400,
        "invalid_request_error",
        f"No such {_PROPER.get(kind, kind)}: '{id}'",
        code="resource_missing",
        param=param or "id",
    )


def missing_param(param: str) -> Refusal:
    """Return the refusal of a request without something that it needs."""
    return invalid(f"Missing required param: {param}.", param=param, code="parameter_missing")


def unknown_param(param: str) -> Refusal:
    """Return the refusal of a parameter that the API does not have."""
    return invalid(f"Received unknown parameter: {param}", param=param, code="parameter_unknown")


def card_error(message: str, code: str, decline_code: str | None = None, **more: object) -> Refusal:
    """Return the refusal of a payment by its card."""
    return Refusal(402, "card_error", message, code=code, decline_code=decline_code, **more)
