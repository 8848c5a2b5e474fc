"""What was consumed: meters, quantities, and reading them from provider replies."""

from callfare.usage.meters import ATTRIBUTES, METERS, Meter
from callfare.usage.quantities import Quantity, check_attributes, check_usage, leaves, parse_quantity, quantity_text

__all__ = [
    "ATTRIBUTES",
    "METERS",
    "Meter",
    "Quantity",
    "check_attributes",
    "check_usage",
    "leaves",
    "parse_quantity",
    "quantity_text",
]
