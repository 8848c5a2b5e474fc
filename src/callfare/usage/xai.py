"""Reading what xAI counts, and what it says it charged: the price, where it is told, of tokens and tools together.

Reasoning is counted beside what is written; here the whole is the sum, unless the reply's own total says otherwise.
Replies come as tables, their labels by name. Refuses to keep any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from callfare.usage.fields import Counted, field_of, list_of, members_of, sum_of, whole_of
from callfare.usage.quantities import Quantity

TICKS_PER_USD = 10**10
"""In how many parts xAI counts a dollar."""

_TOOLS: Mapping[object, str] = MappingProxyType(
    {
        "SERVER_SIDE_TOOL_WEB_SEARCH": "web_searches",
        "SERVER_SIDE_TOOL_CODE_EXECUTION": "code_executions",
        "SERVER_SIDE_TOOL_COLLECTIONS_SEARCH": "file_searches",
        "SERVER_SIDE_TOOL_ATTACHMENT_SEARCH": "file_searches",
    }
)
_BOTH = ("input_tokens", "output_tokens")
_PARTS = {
    "cached_input_tokens": "cached_prompt_text_tokens",
    "input_image_tokens": "prompt_image_tokens",
    "reasoning_tokens": "reasoning_tokens",
}


def read_chat(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a chat reports: tokens, what its tools did at xAI's, and the charge."""
    used = field_of(reply, "usage")
    counted, is_doubtful = _tokens_in(used)
    return Counted(counted | _tools_in(used) | _charge_in(used), _BOTH, is_partial=is_doubtful)


def read_media(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what pictures or a video report: how much was made, and the charge."""
    used = field_of(reply, "usage")
    tokens, is_doubtful = _tokens_in(used)
    made = {name: field_of(reply, name) for name in ("images", "video_seconds")}
    counted = {name: count for name, count in (made | tokens).items() if count}
    charge = _charge_in(used)
    return Counted(counted | charge, tuple(charge) or tuple(fixed) or ("images",), is_partial=is_doubtful)


def ticks_in(used: object) -> Fraction | object:
    """Return the dollars that xAI says it charged; None where it does not say, and what is no count as it is."""
    ticks = field_of(used, "cost_in_usd_ticks")
    number = whole_of(ticks)
    return ticks if number is None else Fraction(number, TICKS_PER_USD)


def _charge_in(used: object) -> dict[str, object]:
    charge = ticks_in(used)
    return {} if charge is None else {"billed_usd": charge}


def _tokens_in(used: object) -> tuple[dict[str, object], bool]:
    """Return the tokens with their parts in them, and whether the reply's own total contradicts them."""
    told = members_of(used)
    counted = {meter: told[name] for meter, name in _PARTS.items() if told.get(name)}
    if told.get("prompt_tokens") is not None:
        counted["input_tokens"] = told["prompt_tokens"]
    written, thought, total = told.get("completion_tokens"), told.get("reasoning_tokens") or 0, told.get("total_tokens")
    if written is None:
        return counted, False
    read = told.get("prompt_tokens") or 0
    is_within = bool(total) and total == sum_of([read, written])
    counted["output_tokens"] = written if is_within else sum_of([written, thought])
    return counted, bool(total) and total != sum_of([read, counted["output_tokens"]])


def _tools_in(used: object) -> dict[str, object]:
    """Return the calls that cost by themselves: of tools that xAI ran, and sources that a search of its own read."""
    tools = list_of(field_of(used, "server_side_tools_used"))
    sources = field_of(used, "num_sources_used") or 0
    counted: dict[str, object] = {}
    for meter in dict.fromkeys(_TOOLS.values()):
        count = sum(_TOOLS.get(tool) == meter for tool in tools)
        counted |= {meter: count} if count else {}
    return counted | {"calls": sum_of([len(tools), sources])} if tools or sources else counted
