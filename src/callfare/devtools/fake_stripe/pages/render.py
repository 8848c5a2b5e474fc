"""What all pages share: their frame, escaping, money as people read it, and forms as browsers send them."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from callfare.devtools.fake_stripe.refusals import Json

_SYMBOLS: Final = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}
_NO_MINOR: Final = (
    "bif",
    "clp",
    "djf",
    "gnf",
    "jpy",
    "kmf",
    "krw",
    "mga",
    "pyg",
    "rwf",
    "vnd",
    "vuv",
    "xaf",
    "xof",
    "xpf",
)
_FORM_BYTES_MAX: Final = 64 * 1024


@cache
def _frame() -> Template:
    return Template(files("callfare.devtools.fake_stripe.pages").joinpath("layout.html").read_text(encoding="utf-8"))


def page(title: str, body: str, *, status: int = 200) -> HTMLResponse:
    """Return a page; the body is HTML, its texts escaped already."""
    return HTMLResponse(_frame().substitute(title=escape(title), body=body), status)


def problem_page(title: str, told: str, *, status: int = 404) -> HTMLResponse:
    """Return a page that says what is wrong."""
    return page(title, f"<h1>{escape(title)}</h1><p>{escape(told)}</p>", status=status)


def onward(url: str) -> RedirectResponse:
    """Send the browser on, with a GET."""
    return RedirectResponse(url, 303)


def money(amount: int, currency: str) -> str:
    """Return an amount as people read it: `$18.00`, `¥500`."""
    symbol = _SYMBOLS.get(currency, f"{currency.upper()} ")
    sign = "-" if amount < 0 else ""
    if currency in _NO_MINOR:
        return f"{sign}{symbol}{abs(amount)}"
    return f"{sign}{symbol}{abs(amount) // 100}.{abs(amount) % 100:02d}"


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; of one too large, none."""
    body = await request.body()
    return dict(parse_qsl(body.decode("utf-8", "replace"))) if len(body) <= _FORM_BYTES_MAX else {}


def field(name: str, label: str, value: str = "", *, more: str = "") -> str:
    """Return a labelled input."""
    return (
        f'<label for="{name}">{escape(label)}</label>'
        f'<input id="{name}" name="{name}" value="{escape(value)}" autocomplete="off" {more}>'
    )


def problem(told: str) -> str:
    """Return a message of what went wrong, empty for none."""
    return f'<p class="problem" role="alert">{escape(told)}</p>' if told else ""


def rows(lines: list[Json], currency: str) -> str:
    """Return the table of what is sold."""
    name = "amount_total" if lines and "amount_total" in lines[0] else "amount"
    cells = (
        f"<tr><td>{escape(str(line['description']))}</td>"
        f'<td class="amount">{escape(money(line[name], currency))}</td></tr>'
        for line in lines
    )
    return f"<table>{''.join(cells)}</table>"
