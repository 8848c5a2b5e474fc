"""Products and prices: what is for sale."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from http import HTTPMethod

from callfare.devtools.fake_stripe.refusals import Json, invalid, missing_param
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, merged_metadata, taken, updated

_PRODUCT = ("active", "description", "images", "name", "shippable", "statement_descriptor", "unit_label", "url")
_AMOUNT_MAX = 99_999_999


def create_product(world: World, call: Call) -> Json:
    """Make a product, with its first price where one is given."""
    params = call.params
    product = made_product(world, params)
    world.emit("product.created", product)
    if "default_price_data" in params:
        price = made_price(world, {**params["default_price_data"], "product": product["id"]})
        world.emit("price.created", price)
        updated(world, product, "product.updated", default_price=price["id"])
    return product


def made_product(world: World, params: Json) -> Json:
    """Return a new product that nobody has been told of."""
    fields = taken(params, *_PRODUCT)
    _must_be_named(fields)
    product = world.new("product", "prod", id_width=14, active=True, images=[], marketing_features=[], type="service")
    product |= fields | {"images": fields.get("images") or []}
    product |= {"metadata": merged_metadata({}, params), "tax_code": params.get("tax_code"), "updated": world.now_s}
    if params.get("id"):
        if params["id"] in world.objects:
            raise invalid("Product already exists.", code="resource_already_exists", param="id")
        world.rename(product, params["id"])
    return product


def _must_be_named(fields: Json) -> None:
    if "name" in fields and not fields["name"]:
        raise invalid("You passed an empty string for 'name'.", param="name", code="parameter_invalid_empty")


def change_product(world: World, call: Call) -> Json:
    """Change a product."""
    product = world.find("product", call.id())
    fields = taken(call.params, *_PRODUCT, "default_price")
    _must_be_named(fields)
    if "images" in fields:
        fields["images"] = fields["images"] or []
    metadata = merged_metadata(product, call.params)
    return updated(world, product, "product.updated", **fields, metadata=metadata, updated=world.now_s)


def delete_product(world: World, call: Call) -> Json:
    """Delete a product that has no prices.

    Raises Refusal when it has some.
    """
    product = world.find("product", call.id())
    if any(price["product"] == product["id"] for price in world.all("price")):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.")
    world.emit("product.deleted", dict(product))
    return world.delete(product)


def create_price(world: World, call: Call) -> Json:
    """Make a price of a product, which may be made along with it."""
    price = made_price(world, call.params)
    world.emit("price.created", price)
    return price


def made_price(world: World, params: Json, *, is_active: bool = True) -> Json:
    """Return a new price that nobody has been told of; made within a session, it is not active.

    Raises Refusal for amounts that are none.
    """
    if "product_data" in params:
        product = made_product(world, params["product_data"])["id"]
    elif "product" in params:
        product = world.find("product", params["product"], param="product")["id"]
    else:
        raise missing_param("product")
    amount = _amount(params)
    recurring = params.get("recurring") or None
    return world.new(
        "price",
        "price",
        active=params.get("active", is_active),
        billing_scheme="per_unit",
        currency=_currency(params["currency"]),
        lookup_key=params.get("lookup_key"),
        metadata=merged_metadata({}, params),
        nickname=params.get("nickname"),
        product=product,
        recurring=_recurring(recurring) if recurring else None,
        tax_behavior=params.get("tax_behavior", "unspecified"),
        type="recurring" if recurring else "one_time",
        unit_amount=amount,
        unit_amount_decimal=str(amount),
    )


def _amount(params: Json) -> int:
    if "unit_amount" in params:
        amount = int(params["unit_amount"])
    elif "unit_amount_decimal" in params:
        try:
            amount = int(Decimal(params["unit_amount_decimal"]))
        except InvalidOperation:
            raise invalid("Invalid decimal", param="unit_amount_decimal") from None
    else:
        raise missing_param("unit_amount")
    if amount < 0:
        raise invalid("Invalid non-negative integer", param="unit_amount", code="parameter_invalid_integer")
    if amount > _AMOUNT_MAX:
        raise invalid("The price is too large.", param="unit_amount", code="amount_too_large")
    return amount


def _currency(told: str) -> str:
    if len(told) != 3 or not told.isascii() or not told.isalpha():  # noqa: PLR2004  # ISO 4217 has three letters
        raise invalid(f"Invalid currency: {told[:20]}.", param="currency")
    return told.lower()


def _recurring(told: Json) -> Json:
    return {
        "interval": told["interval"],
        "interval_count": told.get("interval_count", 1),
        "meter": told.get("meter"),
        "trial_period_days": told.get("trial_period_days"),
        "usage_type": told.get("usage_type", "licensed"),
    }


def change_price(world: World, call: Call) -> Json:
    """Change what can be changed of a price: never its amount."""
    price = world.find("price", call.id())
    fields = taken(call.params, "active", "lookup_key", "nickname")
    return updated(world, price, "price.updated", **fields, metadata=merged_metadata(price, call.params))


def retrieve_product(world: World, call: Call) -> Json:
    """Return a product."""
    return world.find("product", call.id())


def retrieve_price(world: World, call: Call) -> Json:
    """Return a price."""
    return world.find("price", call.id())


def products(world: World, call: Call) -> Json:
    """Return a page of products."""
    ids, active = call.params.get("ids"), call.params.get("active")
    found = (each for each in world.all("product") if ids is None or each["id"] in ids)
    return page(call, [each for each in found if active in {None, each["active"]}])


def prices(world: World, call: Call) -> Json:
    """Return a page of prices, by product, state, kind or look-up key where given."""
    params = call.params
    keys = params.get("lookup_keys")
    found = (each for each in world.all("price") if keys is None or each["lookup_key"] in keys)
    wanted = {name: params[name] for name in ("product", "active", "currency", "type") if name in params}
    return page(call, [each for each in found if all(each[name] == told for name, told in wanted.items())])


ROUTES = (
    Route("POST", "/v1/products", "ProductCreateParams", create_product),
    Route("GET", "/v1/products", "ProductListParams", products),
    Route("GET", "/v1/products/{id}", "ProductRetrieveParams", retrieve_product),
    Route("POST", "/v1/products/{id}", "ProductUpdateParams", change_product),
    Route(HTTPMethod.DELETE, "/v1/products/{id}", "ProductDeleteParams", delete_product),
    Route("POST", "/v1/prices", "PriceCreateParams", create_price),
    Route("GET", "/v1/prices", "PriceListParams", prices),
    Route("GET", "/v1/prices/{id}", "PriceRetrieveParams", retrieve_price),
    Route("POST", "/v1/prices/{id}", "PriceUpdateParams", change_price),
)
