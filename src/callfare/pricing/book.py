"""Price books: layers of dated rates, and which of them is in force for a model at an instant.

The first layer that names a model decides, at every instant: where it has no rate in force the model is unpriced, and
no lower layer is asked, because a gap in one's own book must be seen and not filled with somebody else's price.
Books are immutable; an edition id names their content. Refuses nothing itself: load.py does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from callfare.clock import moment_of
from callfare.pricing.adjusting import Placed, adjusted
from callfare.pricing.layer import Layer
from callfare.pricing.rates import Entry
from callfare.pricing.timeline import Timeline

_NAME_SHOWN_MAX = 64
_REMEMBERED_MAX = 4096


class PriceBook:
    """Layers of prices, the first that names a model deciding. Immutable, and safe to share between threads.

    attribute_names: the attributes that some rate of the book depends on, or that one is derived from.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)
        self.edition = ",".join(layer.edition for layer in self.layers)
        self.attribute_names = frozenset(name for layer in self.layers for name in layer.attribute_names)
        self._decided: dict[tuple[str, str | None], Timeline | None] = {}
        self._adjusted: dict[int, Timeline] = {}

    def entry(self, model: str, *, provider: str | None = None, at_us: int) -> Entry | None:
        """Return what is in force for a model at an instant, or None when it has no price then.

        provider: None when the caller does not know it; a model that two providers sell then has no price.
        """
        key = (model, provider)
        try:
            timeline = self._decided[key]
        except KeyError:
            timeline = self._decide(model, provider)
            if len(self._decided) >= _REMEMBERED_MAX:
                self._decided.clear()
            if len(model) <= _NAME_SHOWN_MAX:
                self._decided[key] = timeline
        return None if timeline is None else timeline.at(at_us)

    def absence(self, model: str, *, provider: str | None = None, at_us: int) -> str:
        """Return why `entry` is None, as a phrase for people."""
        shown = model if len(model) <= _NAME_SHOWN_MAX and model.isprintable() else ascii(model[:_NAME_SHOWN_MAX])
        for layer in self.layers:
            sellers = self.timelines(layer, model, provider)
            if len(sellers) > 1:
                names = sorted(sellers)
                return (
                    f"{layer.name} has prices of {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))} "
                    f"for {shown}, and no provider was named"
                )
            if sellers:
                ended = next(iter(sellers.values())).ended_us(at_us)
                ending = "" if ended is None else f"; its rates ended on {moment_of(ended):%Y-%m-%d}"
                return f"{layer.name} has no rate for {shown} in force on {moment_of(at_us):%Y-%m-%d %H:%M} UTC{ending}"
        left_out = next(filter(None, (layer.absence(model, provider) for layer in self.layers)), "")
        return left_out or f"no price book names {shown}{f' of {provider}' if provider else ''}"

    def timelines(self, layer: Layer, model: str, provider: str | None) -> Mapping[str, Timeline]:
        """Return what a layer knows of a model, by provider, at what the layers above it leave of its prices."""
        found = layer.timelines(model, provider)
        above = self.layers[: self.layers.index(layer)]
        if not any(upper.adjustments for upper in above):
            return found
        return {seller: self._adjusted_by(above, seller, timeline) for seller, timeline in found.items()}

    def _adjusted_by(self, above: Iterable[Layer], seller: str, timeline: Timeline) -> Timeline:
        found = self._adjusted.get(id(timeline))
        if found is None:
            names = {seller.casefold()}
            placed: list[Placed] = [
                (one, upper.edition)
                for upper in above
                for one in upper.adjustments
                if not names.isdisjoint(layer.provider_named(one.provider) for layer in self.layers)
            ]
            # All timelines that are ever found are kept by their layer, so no other object has their identity.
            found = self._adjusted.setdefault(id(timeline), adjusted(timeline, placed) if placed else timeline)
        return found

    def _decide(self, model: str, provider: str | None) -> Timeline | None:
        for layer in self.layers:
            sellers = self.timelines(layer, model, provider)
            if sellers:
                return next(iter(sellers.values())) if len(sellers) == 1 else None
        return None
