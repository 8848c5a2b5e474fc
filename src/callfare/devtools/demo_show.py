"""What a person sees of the demo, and what a machine reads of it: a calm page, or one JSON object per line.

The page has colour on terminals only, and is plain text in a pipe or a file, or where NO_COLOR is set. It never rounds
an amount.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import TextIO

from rich.console import Console
from rich.text import Text

from callfare.devtools.demo_events import (
    Begun,
    CallCharged,
    Chapter,
    Event,
    Granted,
    Ready,
    Refusal,
    Repeat,
    RunEnded,
    RunOpened,
    Show,
    Summary,
    Verified,
    as_json,
)
from callfare.money import Credits, Usd

OWN_APP = """\
from callfare import Callfare
from openai import OpenAI

fare = Callfare("sqlite:///callfare.db")
fare.grant("user_123", 2000, key="welcome:user_123")
client = fare.wrap(OpenAI())                              # every call through it is metered
with fare.run("story", user="user_123"):                  # holds credit, or refuses before any call
    client.responses.create(model="gpt-5-mini", input="A bedtime story")
print(fare.balance("user_123").available)
"""
"""What to put into one's own app. A test runs it."""

_CREDITS_FROM = 92
_ESTIMATE_FROM = 118
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_ASCII = str.maketrans({"├": "|", "┤": "|", "─": "-", "●": "o", "–": "-", "×": "x", "…": "."})
_BAR = 18
_PLACES = 6

Piece = tuple[str, str]
"""A text and how it looks: "", "bold", "dim", "green", "red", "yellow" or "cyan"."""


def shower(stream: TextIO, *, is_json: bool, explains: bool) -> Show:
    """Return what shows events on a stream."""
    if is_json:
        return lambda event: _print_json(stream, event)
    return Page(stream, explains=explains).show


def _print_json(stream: TextIO, event: Event) -> None:
    if not isinstance(event, Chapter):
        print(json.dumps(as_json(event)), file=stream, flush=True)


class Page:
    """The demo as a page of text, in blocks that a blank line sets apart."""

    def __init__(self, stream: TextIO, *, explains: bool = False) -> None:
        self._write = _writer(stream)
        self._explains = explains
        self._width = Console(file=stream).width if stream.isatty() else _ESTIMATE_FROM
        self._chapters = 0
        self._block = ""
        self._sample: dict[str, CallCharged] = {}

    def show(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Begun():
                self._begin(event)
            case Chapter():
                self._chapter(event)
            case Granted():
                self._granted(event)
            case RunOpened():
                self._opened(event)
            case CallCharged():
                self._called(event)
            case RunEnded():
                self._ended(event)
            case Refusal():
                self._refused(event)
            case Repeat():
                self._repeated(event)
            case Verified():
                self._verified(event)
            case Summary():
                self._sum_up(event)
            case Ready():
                self._stay(event)

    def _line(self, *pieces: Piece) -> None:
        self._write(pieces)

    def _begin_block(self, name: str = "") -> bool:
        """Leave a line blank unless a block of this name goes on; return whether a new one begins."""
        if name and name == self._block:
            return False
        self._block = name
        self._line()
        return True

    # One for each event

    def _begin(self, event: Begun) -> None:
        self._line(("callfare demo", "bold"), ("   no keys, no network: nothing leaves this machine", ""))
        self._begin_block()
        self._line(("   ledger    ", "dim"), (event.ledger, ""))
        self._line(("   provider  ", "dim"), (f"a stand-in for OpenAI at {event.stand_in}", ""))
        self._line(("   client    ", "dim"), (f"the real SDK, {event.sdk}; only its base_url is another", ""))
        self._line(("   prices    ", "dim"), (f"{event.edition}, the specification's table", ""))

    def _chapter(self, event: Chapter) -> None:
        self._chapters += 1
        self._begin_block()
        note = f"   {event.note}" if event.note else ""
        self._line((f"{self._chapters}  {event.title}", "bold"), (note, "dim"))

    def _granted(self, event: Granted) -> None:
        self._begin_block("granted")
        how = f"buys the {event.package} package for ${cents(event.paid)}" if event.paid else f"gets a {event.source}"
        self._line((f"   {event.user} {how}: ", ""), (f"{grouped(event.credits)} credits", "green"))

    def _opened(self, event: RunOpened) -> None:
        self._begin_block("opened")
        self._line(
            (f"   {event.workflow:<10}", "cyan"),
            (f"estimate {event.low}–{grouped(event.high)} credits; ", ""),
            (f"{event.hold} held", "yellow"),
            (" before the first call, ", ""),
            (f"{grouped(event.available)} available", "green"),
        )

    def _called(self, event: CallCharged) -> None:
        if self._begin_block("calls"):
            self._row("dim", ("run", "model", "units", "cost", "   credits", "credits left", "  of its estimate"))
        self._sample.setdefault(event.operation, event)
        self._row(
            "",
            (
                event.workflow,
                family(event.model),
                units_in_words(event.units, event.attributes),
                f"${cents(event.cost)}",
                pointed(event.credits, 10),
                pointed(event.left, 12),
                f"{pointed(event.so_far, 10)} of {event.low}–{grouped(event.high)}",
            ),
        )
        if event.flags:
            self._line((f"{'':13}flagged {', '.join(event.flags)}: charged for what was received", "dim"))
        if self._explains:
            self._arithmetic(event)

    def _row(self, style: str, cells: tuple[str, str, str, str, str, str, str]) -> None:
        """Write a row of the table of calls, with the columns that fit."""
        run, model, units, cost, paid, left, so_far = cells
        self._line(
            (f"   {run:<10}", style or "cyan"),
            (f"{model:<17}{units:<24}{cost:<13}", style),
            (f"{paid:<10}  " if self._width >= _CREDITS_FROM else "", style or "yellow"),
            (f"{left:<12}", style or "green"),
            (f"   {so_far}" if self._width >= _ESTIMATE_FROM else "", "dim"),
        )

    def _ended(self, event: RunEnded) -> None:
        self._begin_block("ended")
        place = within(event.charged, event.low, event.high)
        fits = self._width >= _CREDITS_FROM
        self._line(
            (f"   {event.workflow:<10}", "cyan"),
            (f"{_some(str(event.calls), 'call'):<8} charged ", ""),
            (pointed(event.charged, 10), "yellow"),
            (f"  given back {pointed(event.given_back, 10)}", ""),
            (f"   {place}" if fits else "", "dim"),
        )
        if not fits:
            self._line((f"{'':21}{place}", "dim"))

    def _refused(self, event: Refusal) -> None:
        self._begin_block()
        self._line((f"   {event.what}: ", ""), (f"refused, {event.code}", "red"))
        self._line((f"      {event.message}", "dim"))
        requests = unchanged(str(event.requests_before), str(event.requests_after))
        left = unchanged(grouped(event.left_before), grouped(event.left_after))
        self._line((f"      requests at the stand-in: {requests}; credits: {left}", ""))

    def _repeated(self, event: Repeat) -> None:
        self._begin_block()
        self._line((f"   {event.what}: ", ""), (event.answer, "green"))
        self._line((f"      credits: {unchanged(grouped(event.left_before), grouped(event.left_after))}", ""))

    def _verified(self, event: Verified) -> None:
        self._begin_block("books")
        verdict = ("clean", "green") if event.is_clean else ("WRONG", "red")
        self._line(("   verify     ", "dim"), verdict, (f", {event.rows} rows recomputed from history", ""))
        for fault in event.faults:
            self._line((f"      {fault}", "red"))

    def _sum_up(self, event: Summary) -> None:
        self._begin_block("books")
        agrees = ("the same", "green") if event.by_hand == str(event.charged) else (event.by_hand, "red")
        again = f", {event.calls} calls worked out again from the table, in fractions"
        self._line(("   by hand    ", "dim"), agrees, (again, ""))
        sides = f"{grouped(event.granted)} granted = {event.charged} charged + {grouped(event.left)} left"
        self._line(("   conserved  ", "dim"), (sides, ""))
        self._by_model(event)
        for operation in ("chat", "transcription", "video"):
            if operation in self._sample and not self._explains:
                self._explain(self._sample[operation])
        for fault in event.faults:
            self._line((f"   NOT AS IT SHOULD BE: {fault}", "red"))
        self._own_app()

    def _stay(self, event: Ready) -> None:
        self._chapter(Chapter(title="It stays until Ctrl-C", note="try in another terminal"))
        self._begin_block()
        for command in event.commands:
            self._line((f"   {command}", ""))
        self._begin_block()
        self._line((f"   The stand-in serves your code too: OpenAI(base_url={event.stand_in!r}, api_key='none')", ""))
        if event.server is not None and event.key_file is not None:
            body = '{"userId":"user_123","email":"user@example.com","packageId":"credits_2000"}'
            self._line((f"   The server sells more, through a stand-in for Stripe, at {event.server}:", ""))
            self._line((f'   curl -H "Authorization: Bearer $(cat {event.key_file})" \\', ""))
            self._line(
                (f"     -H 'Content-Type: application/json' -d '{body}' {event.server}/api/billing/checkout", "")
            )

    # Parts

    def _by_model(self, event: Summary) -> None:
        self._begin_block()
        self._line((f"   {'model':<17}{'calls':>5}     {'units':<24}{'cost':<13}{'credits':>10}", "dim"))
        for total in event.by_model:
            self._line(
                (f"   {family(total.model):<17}{total.calls:>5}     {units_in_words(total.units, {}):<24}", ""),
                (f"{'$' + cents(total.cost):<13}", ""),
                (pointed(total.credits, 10), "yellow"),
            )
        self._line(
            (f"   {'together':<17}{event.calls:>5}     {'':24}{'$' + cents(event.cost):<13}", "bold"),
            (pointed(event.charged, 10), "yellow"),
        )
        self._line((f"   {'':46}${event.uncharged} of it, a second attempt, was not charged", "dim"))

    def _explain(self, event: CallCharged) -> None:
        self._begin_block()
        units = units_in_words(event.units, event.attributes)
        self._line((f"   {event.workflow}, {event.model}: {units}, ", ""), (f"${cents(event.cost)}", "yellow"))
        self._arithmetic(event)

    def _arithmetic(self, event: CallCharged) -> None:
        for step in event.arithmetic:
            self._line((f"      {step}", "dim"))

    def _own_app(self) -> None:
        self._chapter(Chapter(title="In your own app", note="docs/start.md goes on from here"))
        self._begin_block()
        for code in OWN_APP.splitlines():
            self._line((f"   {code}", "cyan"))


# Words


def units_in_words(units: Mapping[str, str], attributes: Mapping[str, str]) -> str:
    """Return what a call used, as a person would say it."""
    size = attributes.get("size", "")
    if "images" in units:
        return f"{_some(units['images'], 'image')} {size}".rstrip()
    if "video_seconds" in units:
        return f"{units['video_seconds']} s of video {size}".rstrip()
    if "audio_seconds" in units:
        return f"{units['audio_seconds']} s of sound"
    if "characters" in units:
        return _some(units["characters"], "character")
    return f"{int(units['input_tokens']):,} tokens in, {int(units['output_tokens']):,} out"


def _some(count: str, what: str) -> str:
    return f"{int(count):,} {what}{'' if count == '1' else 's'}"


def family(model: str) -> str:
    """Return a model's name without the date of its snapshot."""
    return _DATED.sub("", model)


def grouped(amount: Credits) -> str:
    """Return an amount exactly, its whole part in groups of three."""
    whole, point, part = str(amount).partition(".")
    return f"{int(whole):,}{point}{part}"


def cents(amount: Usd) -> str:
    """Return dollars exactly, with two decimals at least."""
    whole, _, part = str(amount).partition(".")
    return f"{whole}.{part:0<2}"


def pointed(amount: Credits, width: int) -> str:
    """Return an amount exactly, its decimal point under that of the others."""
    whole, point, part = grouped(amount).partition(".")
    return f"{whole:>{width - _PLACES - 1}}{point or ' '}{part:<{_PLACES}}"


def unchanged(before: str, after: str) -> str:
    """Return two counts, in fewer words where they are the same."""
    return f"{before} before and after" if before == after else f"{before} before, {after} after"


def within(amount: Credits, low: Credits, high: Credits) -> str:
    """Return where an amount lies in an estimate, drawn to scale."""
    place = Fraction(amount.nanocredits - low.nanocredits, high.nanocredits - low.nanocredits)
    if not 0 <= place <= 1:
        return f"{'below' if place < 0 else 'above'} the estimate"
    before = int(place * (_BAR - 1))
    return f"{low!s:>3} ├{'─' * before}●{'─' * (_BAR - 1 - before)}┤ {grouped(high)}"


# Where it is written


def _writer(stream: TextIO) -> Callable[[Iterable[Piece]], None]:
    """Return what writes a line: in colour on a terminal, unless NO_COLOR is set; in ASCII where nothing else fits."""
    can_draw = (stream.encoding or "").lower().replace("-", "") in {"utf8", "utf16", "utf32"}
    is_plain = not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    console = Console(file=stream, highlight=False, soft_wrap=True)

    def write(pieces: Iterable[Piece]) -> None:
        line = Text.assemble(*((text if can_draw else text.translate(_ASCII), style) for text, style in pieces))
        line.rstrip()
        if is_plain:
            print(line.plain, file=stream, flush=True)
        else:
            console.print(line)

    return write
