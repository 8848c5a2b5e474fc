"""The account that the key belongs to, its events, and its webhook endpoints."""

from __future__ import annotations

from fnmatch import fnmatchcase
from http import HTTPMethod
from urllib.parse import urlsplit

from callfare.devtools.fake_stripe.refusals import Json, invalid, missing
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, merged_metadata


def account(world: World, _call: Call) -> Json:
    """Return the account itself."""
    return {
        "id": world.settings.account,
        "object": "account",
        "business_profile": None,
        "business_type": None,
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@example.com",
        "payouts_enabled": True,
        "settings": None,
        "type": "standard",
    }


# Webhook endpoints


def create_endpoint(world: World, call: Call) -> Json:
    """Make a webhook endpoint; only this answer ever tells its secret."""
    params = call.params
    _must_be_address(params["url"])
    endpoint = world.new(
        "webhook_endpoint",
        "we",
        api_version=params.get("api_version"),
        description=params.get("description") or None,
        enabled_events=params["enabled_events"],
        metadata=merged_metadata({}, params),
        status="enabled",
        url=params["url"],
    )
    if not params["enabled_events"]:
        raise invalid("You must select at least one event.", param="enabled_events")
    secret = world.new_id("whsec", 32)
    world.notes[endpoint["id"]]["secrets"] = [secret]
    return {**endpoint, "secret": secret}


def _must_be_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.", param="url", code="url_invalid"
        )


def change_endpoint(world: World, call: Call) -> Json:
    """Change a webhook endpoint's address, events or state."""
    endpoint = world.find("webhook_endpoint", call.id())
    params = call.params
    if "url" in params:
        _must_be_address(params["url"])
    endpoint |= {name: params[name] for name in ("description", "enabled_events", "url") if name in params}
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    endpoint["metadata"] = merged_metadata(endpoint, params)
    return endpoint


def delete_endpoint(world: World, call: Call) -> Json:
    """Delete a webhook endpoint: nothing more is sent to it."""
    return world.delete(world.find("webhook_endpoint", call.id()))


def endpoint(world: World, call: Call) -> Json:
    """Return a webhook endpoint, without its secret."""
    return world.find("webhook_endpoint", call.id())


def endpoints(world: World, call: Call) -> Json:
    """Return a page of webhook endpoints."""
    return page(call, world.all("webhook_endpoint"))


# Events


def event(world: World, call: Call) -> Json:
    """Return an event of the last thirty days."""
    found = next((each for each in world.recent_events() if each["id"] == call.id()), None)
    if found is None:
        raise missing("event", call.id(), param=None)
    return found


def events(world: World, call: Call) -> Json:
    """Return a page of the events of the last thirty days, by type or by how their delivery went."""
    params = call.params
    wanted = [params["type"]] if "type" in params else params.get("types", ["*"])
    found = (each for each in world.recent_events() if any(fnmatchcase(each["type"], form) for form in wanted))
    if "delivery_success" in params:
        found = (each for each in found if (each["pending_webhooks"] == 0) == params["delivery_success"])
    return page(call, found)


ROUTES = (
    Route("GET", "/v1/account", "AccountRetrieveCurrentParams", account),
    Route("POST", "/v1/webhook_endpoints", "WebhookEndpointCreateParams", create_endpoint),
    Route("GET", "/v1/webhook_endpoints", "WebhookEndpointListParams", endpoints),
    Route("GET", "/v1/webhook_endpoints/{id}", "WebhookEndpointRetrieveParams", endpoint),
    Route("POST", "/v1/webhook_endpoints/{id}", "WebhookEndpointUpdateParams", change_endpoint),
    Route(HTTPMethod.DELETE, "/v1/webhook_endpoints/{id}", "WebhookEndpointDeleteParams", delete_endpoint),
    Route("GET", "/v1/events", "EventListParams", events),
    Route("GET", "/v1/events/{id}", "EventRetrieveParams", event),
)
