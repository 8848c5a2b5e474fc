"""Where a model of Ollama's is run: on a machine of one's own, or in Ollama's cloud, whichever SDK asks for it.

Its price depends on that. Refuses to guess: a call that tells no address has no place.
"""

from __future__ import annotations

from collections.abc import Mapping

from callfare.capture.providers import provider_named_at

_OLLAMA = "ollama"
_REGION = "region"


def region_at(base_url: str, model: str) -> str:
    """Return "cloud" for what Ollama's cloud runs, by the address or by the model's tag; "local" for anything else."""
    tag = model.rpartition(":")[2].casefold() if ":" in model else ""
    is_cloud = provider_named_at(base_url) == _OLLAMA or tag == "cloud" or tag.endswith("-cloud")
    return "cloud" if is_cloud else "local"


def with_place(attributes: Mapping[str, str], *, provider: str, base_url: str, model: str) -> Mapping[str, str]:
    """Return the attributes of a call, with the place where it was run if that is part of its price and is known."""
    if provider.casefold() != _OLLAMA or not base_url or _REGION in attributes:
        return attributes
    return {**attributes, _REGION: region_at(base_url, model)}
