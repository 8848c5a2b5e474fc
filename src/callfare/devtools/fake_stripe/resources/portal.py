"""The customer portal: its configurations, and the sessions that let a customer in. The pages stand in `pages`."""

from __future__ import annotations

from typing import Any

from callfare.devtools.fake_stripe.refusals import Json, invalid, missing_param
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, merged_metadata, taken, updated


def create_configuration(world: World, call: Call) -> Json:
    """Make a configuration of the portal."""
    configuration = made_configuration(world, call.params, is_default=False)
    world.emit("billing_portal.configuration.created", configuration)
    return configuration


def made_configuration(world: World, params: Json, *, is_default: bool) -> Json:
    """Return a new configuration that nobody has been told of."""
    return world.new(
        "billing_portal.configuration",
        "bpc",
        active=True,
        business_profile=_profile(params),
        default_return_url=params.get("default_return_url") or None,
        features=_features(params.get("features", {})),
        is_default=is_default,
        login_page={"enabled": False, "url": None},
        metadata=merged_metadata({}, params),
        name=params.get("name"),
        updated=world.now_s,
    )


def _profile(params: Json) -> Json:
    given = params.get("business_profile") or {}
    return {name: given.get(name) or None for name in ("headline", "privacy_policy_url", "terms_of_service_url")}


def _features(given: Json) -> Json:
    def told(name: str, **usual: Any) -> Json:  # each feature has its own fields
        return {**usual, **{key: value for key, value in given.get(name, {}).items() if key in usual and value != ""}}

    cancel = told("subscription_cancel", enabled=False, mode="at_period_end", proration_behavior="none")
    reason = given.get("subscription_cancel", {}).get("cancellation_reason", {})
    return {
        "customer_update": told("customer_update", allowed_updates=[], enabled=False),
        "invoice_history": told("invoice_history", enabled=False),
        "payment_method_update": told("payment_method_update", enabled=False, payment_method_configuration=None),
        "subscription_cancel": {
            **cancel,
            "cancellation_reason": {"enabled": reason.get("enabled", False), "options": reason.get("options") or []},
        },
        "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
        "subscription_update": {
            "billing_cycle_anchor": None,
            "default_allowed_updates": [],
            "enabled": False,
            "products": [],
            "proration_behavior": "none",
            "schedule_at_period_end": {"conditions": []},
            "trial_update_behavior": "end_trial",
        },
    }


def change_configuration(world: World, call: Call) -> Json:
    """Change a configuration."""
    configuration = world.find("billing_portal.configuration", call.id())
    params = call.params
    fields = taken(params, "active", "default_return_url", "name")
    if "features" in params:
        fields["features"] = {**configuration["features"], **_features(params["features"])}
    if "business_profile" in params:
        fields["business_profile"] = {**configuration["business_profile"], **params["business_profile"]}
    metadata = merged_metadata(configuration, params)
    kind = "billing_portal.configuration.updated"
    return updated(world, configuration, kind, **fields, metadata=metadata, updated=world.now_s)


def default_configuration(world: World) -> Json:
    """Return the account's own configuration, which lets a customer do everything that the portal here can."""
    for found in world.all("billing_portal.configuration"):
        if found["is_default"]:
            return found
    features = {name: {"enabled": True} for name in ("invoice_history", "payment_method_update", "subscription_cancel")}
    return made_configuration(world, {"features": features}, is_default=True)


def create_session(world: World, call: Call) -> Json:
    """Let a customer into the portal.

    Raises Refusal when there is no such customer.
    """
    params = call.params
    if "customer" not in params:
        raise missing_param("customer")
    customer = world.find("customer", params["customer"], param="customer")
    if "configuration" in params:
        configuration = world.find("billing_portal.configuration", params["configuration"], param="configuration")
    else:
        configuration = default_configuration(world)
    if "flow_data" in params:
        raise invalid("The stand-in's portal has no flows.", param="flow_data")
    session = world.new(
        "billing_portal.session",
        "bps",
        configuration=configuration["id"],
        customer=customer["id"],
        locale=params.get("locale"),
        return_url=params.get("return_url") or configuration["default_return_url"],
    )
    session["url"] = f"{world.base_url}/p/session/{session['id']}"
    world.emit("billing_portal.session.created", session)
    return session


def configuration(world: World, call: Call) -> Json:
    """Return a configuration."""
    return world.find("billing_portal.configuration", call.id())


def configurations(world: World, call: Call) -> Json:
    """Return a page of configurations, by state where given."""
    names = ("active", "is_default")
    wanted = {name: call.params[name] for name in names if name in call.params}
    found = world.all("billing_portal.configuration")
    return page(call, [each for each in found if all(each[name] == told for name, told in wanted.items())])


_CONFIGURATION = "/v1/billing_portal/configurations"
ROUTES = (
    Route("POST", "/v1/billing_portal/sessions", "billing_portal.SessionCreateParams", create_session),
    Route("POST", _CONFIGURATION, "billing_portal.ConfigurationCreateParams", create_configuration),
    Route("GET", _CONFIGURATION, "billing_portal.ConfigurationListParams", configurations),
    Route("GET", f"{_CONFIGURATION}/{{id}}", "billing_portal.ConfigurationRetrieveParams", configuration),
    Route("POST", f"{_CONFIGURATION}/{{id}}", "billing_portal.ConfigurationUpdateParams", change_configuration),
)
