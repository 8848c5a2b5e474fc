"""What usage costs: price books in layers, and the rating of one call."""

from callfare.pricing.book import PriceBook
from callfare.pricing.layer import Layer
from callfare.pricing.load import load_book, load_layer, seed_book
from callfare.pricing.rates import Entry, ModelPrices, Rate
from callfare.pricing.rating import Line, Rating, rate, rate_finished

__all__ = [
    "Entry",
    "Layer",
    "Line",
    "ModelPrices",
    "PriceBook",
    "Rate",
    "Rating",
    "load_book",
    "load_layer",
    "rate",
    "rate_finished",
    "seed_book",
]
