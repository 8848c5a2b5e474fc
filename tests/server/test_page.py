"""The requests that the server's page shows get the answers that it shows, one after another on one ledger."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "server.md"
BLOCK = re.compile(r"^```http\n(.*?)^```", re.MULTILINE | re.DOTALL)
MORE = "…"


def shown():
    """Yield each request of the page with the answer that stands below it."""
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        asked, _, answered = block.partition("\n\n")
        (line, *rest), (status, body) = asked.split("\n"), answered.split("\n", 1)
        headers = dict(one.split(": ", 1) for one in rest if re.match(r"[A-Z][A-Za-z-]*: ", one))
        content = "\n".join(one for one in rest if one.split(": ", 1)[0] not in headers)
        yield *line.split(" "), headers, content, int(status), json.loads(body)


def fits(told, page):
    """Tell whether an answer is what the page shows of it, with `…` for what it leaves out."""
    match page:
        case dict():
            names = page.keys() - {MORE}
            is_whole = MORE in page or told.keys() == names
            return is_whole and all(name in told and fits(told[name], page[name]) for name in names)
        case list():
            whole = page[:-1] if page and page[-1] == MORE else page
            is_whole = len(told) > len(whole) if whole is not page else len(told) == len(page)
            return is_whole and all(map(fits, told, whole))
        case str() if page.endswith(MORE):
            return isinstance(told, str) and told.startswith(page.removesuffix(MORE))
    return told == page and type(told) is type(page)


def test_every_request_of_the_page_gets_the_answer_below_it(client):
    for method, path, headers, content, status, answered in shown():
        kind = {"Content-Type": "application/json"} if content else {}
        found = client.request(method, path, headers=headers | kind, content=content.encode() or None)

        assert (found.status_code, path) == (status, path), found.text
        assert fits(found.json(), answered), f"{method} {path} is answered {json.dumps(found.json(), indent=1)}"


def test_the_page_shows_the_routes_that_an_app_lives_by():
    asked = {(method, path.partition("?")[0].removeprefix("/api/billing/")) for method, path, *_ in shown()}

    assert asked >= {
        ("POST", "grants"),
        ("POST", "runs"),
        ("POST", "events"),
        ("POST", "runs/run_42/close"),
        ("GET", "usage"),
        ("POST", "tokens"),
    }


@pytest.mark.parametrize(
    ("told", "page"),
    [
        ({"a": "1", "b": "2"}, {"a": "1"}),
        ({"a": "1"}, {"a": "1", "b": "2"}),
        ({"a": "1"}, {"a": "2", MORE: MORE}),
        ({"a": 1}, {"a": True}),
        ({"a": "xyz"}, {"a": f"xz{MORE}"}),
        ([1, 2], [1]),
        ([1], [1, MORE]),
        ({"a": None}, {"a": MORE}),
    ],
    ids=str,
)
def test_an_answer_that_is_not_the_pages_is_seen(told, page):
    assert not fits(told, page)
