"""Reading what Mistral counts: tokens, seconds of sound, what connectors put into a conversation, pages of documents.

Tokens stand under OpenAI's names; the rest, and where it stands, is Mistral's own. Refuses to keep any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from callfare.usage.fields import Counted, field_of, list_of, members_of, sum_of, whole_of
from callfare.usage.openai import READERS, tokens_in
from callfare.usage.quantities import Quantity

_TOKENS = ("input_tokens", "output_tokens")
_SECONDS = "prompt_audio_seconds"
# Connectors whose calls have a meter of their own; of any other it is only known that it was called.
_CONNECTORS: Mapping[str, str] = MappingProxyType(
    {"web_search": "web_searches", "code_interpreter": "code_executions", "document_library": "file_searches"}
)


def read_chat(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a chat reports. Sound it heard is billed by the second, and its tokens stand beside the prompt's."""
    used = field_of(reply, "usage")
    counted = READERS["chat"](reply, fixed).usage
    if (seconds := _told(used, _SECONDS)) is not None:
        counted["audio_seconds"] = seconds
    return Counted(counted, _TOKENS, attributes=_tier_in(used))


def read_embedding(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what embeddings report."""
    counted = READERS["embedding"](reply, fixed)
    return Counted(counted.usage, counted.needed, attributes=_tier_in(field_of(reply, "usage")))


def read_classification(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a moderation or a classification reports, which may be nothing but its model."""
    return Counted(tokens_in(field_of(reply, "usage")), ("input_tokens",))


def read_transcript(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return the seconds of a transcript: what it is billed by, whatever tokens it tells besides.

    reply: one that tells only how far it had come, as `heard_seconds`, is a doubt.
    """
    seconds = _told(field_of(reply, "usage"), _SECONDS)
    if seconds is not None:
        return Counted({"audio_seconds": seconds}, ("audio_seconds",))
    heard = fixed.get("audio_seconds", field_of(reply, "heard_seconds"))
    counted = tokens_in(field_of(reply, "usage")) if heard is None else {"audio_seconds": heard}
    return Counted(counted, ("audio_seconds",), is_partial=True)


def read_document(reply: object, _fixed: Mapping[str, Quantity], *, is_annotated: bool = False) -> Counted:
    """Return the pages that were read, and annotated too where that was asked for: each of them costs more."""
    pages = field_of(field_of(reply, "usage_info"), "pages_processed")
    told = {} if pages is None else {"pages": pages} | ({"annotated_pages": pages} if is_annotated else {})
    return Counted(told, ("pages",))


def read_conversation(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a reply in a conversation reports, with what its connectors put in and how often they were called."""
    used = field_of(reply, "usage")
    counted, is_doubtful = _tokens_of_conversation(used)
    entries = list_of(field_of(reply, "outputs"))
    counted |= _calls_in(_connectors_in(used, entries))
    models = [model for entry in entries if (model := field_of(entry, "model"))]
    ids = [own for entry in entries if (own := field_of(entry, "id"))]
    return Counted(
        counted,
        _TOKENS,
        model=models[-1] if models else None,
        response_id=ids[-1] if ids else None,
        # What each of several models has used is not told.
        is_partial=is_doubtful or len(set(models)) > 1,
    )


def _told(source: object, name: str) -> Any:  # noqa: ANN401 - whatever a provider sent
    """Return a field that was told; the SDK has an object of its own for one that was not."""
    value = field_of(source, name)
    return None if type(value).__name__ == "Unset" else value


def _tier_in(used: object) -> Mapping[str, object]:
    tier = field_of(used, "service_tier")
    return {"service_tier": tier} if isinstance(tier, str) else {}


def _tokens_of_conversation(used: object) -> tuple[dict[str, object], bool]:
    """Return the tokens, those of connectors within the input, and whether the total contradicts them."""
    counted = tokens_in(used)
    told = (counted.get("input_tokens"), counted.get("output_tokens"), _told(used, "connector_tokens"))
    read, written, put_in = (whole_of(count) for count in told)
    if not put_in or read is None or written is None:
        return counted, False
    counted["connector_tokens"] = put_in
    total = whole_of(field_of(used, "total_tokens"))
    if total == read + written and put_in <= read:
        return counted, False
    counted["input_tokens"] = read + put_in
    return counted, total not in (None, read + written + put_in)


def _connectors_in(used: object, entries: list[object]) -> Mapping[str, object]:
    """Return how often each connector was called: as counted, or as seen where there is no count."""
    if used is not None:
        return members_of(_told(used, "connectors"))
    seen = [str(field_of(entry, "name")) for entry in entries if field_of(entry, "type") == "tool.execution"]
    return {name: seen.count(name) for name in seen}


def _calls_in(connectors: Mapping[str, object]) -> dict[str, object]:
    counted: dict[str, object] = {}
    for name, count in connectors.items():
        meter = _CONNECTORS.get(name)
        if meter is not None:
            counted[meter] = sum_of([counted.get(meter, 0), count])
    return counted | ({"calls": sum_of(list(connectors.values()))} if connectors else {})
