"""A server that answers something else than our functions would: an error of ours in time, and no write is believed."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from callfare.errors import CallfareError, LedgerUnavailable
from callfare.ledger.rows import Account, Event
from callfare.store import convex_http
from callfare.store.convex import ConvexStore
from callfare.store.convex_http import Deployment, to_wire
from callfare.store.protocol import EventsBetween, UserNamed
from tests.support.commands import grant, open_run


class Liar(http.server.ThreadingHTTPServer):
    """Answers what it is told to, each time; `script` gets which function was asked for, and with what."""

    daemon_threads = True

    def __init__(self, script) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.script = script
        self.asked: list[str] = []


class _Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["args"][0]
        self.server.asked.append(body["name"])
        self.server.script(self, body["name"], body["args"])

    def tell(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def succeed(self, value: object) -> None:
        self.tell(json.dumps({"status": "success", "value": value}).encode())

    def log_message(self, *_) -> None:
        """Say nothing."""


@pytest.fixture
def lied_to():
    """Returns a store whose deployment answers as a script says."""
    servers, stores = [], []

    def made(script, deadline_s=30):
        server = Liar(script)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        servers.append((server, thread))
        place = Deployment("127.0.0.1", server.server_port, "", is_secure=False, secret="x" * 24)
        stores.append(ConvexStore(place, deadline_s=deadline_s))
        stores[-1].server = server
        return stores[-1]

    yield made
    for store in stores:
        store.close()
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def used(store):
    """Yield every way in which a store is used, each as something to call."""
    yield store.create
    yield lambda: store.apply([grant("alice", 1)])
    yield lambda: store.apply([open_run("r1", hold=1)])
    yield lambda: store.snapshot("alice")
    yield lambda: store.select(UserNamed(user="alice"))
    yield lambda: store.select(EventsBetween(account_id=1, since_us=0, until_us=5))
    yield lambda: list(store.scan(Account))
    yield store.facts
    yield lambda: store.upkeep().schema()
    yield lambda: store.upkeep().migrate()
    yield lambda: store.upkeep().raw_times()
    yield lambda: store.upkeep().drop_raw([(1, "key")], before_us=1, now_us=2)
    yield lambda: store.one_instant().__enter__()


VALUES = [
    [],
    {},
    "no",
    5,
    1500.5,
    {"$integer": "AQ=="},
    {"$float": "AAAAAAAA+H8="},
    {"$bytes": "AAAA"},
    {"nowUs": to_wire(5), "answers": [[]]},
    {"nowUs": to_wire(5), "answers": []},
    {"nowUs": 5.0, "answers": []},
    {"nowUs": 5, "answers": []},
    10**400,
    {"nowUs": to_wire(5)},
    {"rows": [["a"]], "earlier": [], "end": None},
    {"count": 1.0, "end": None},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:60])
def test_an_answer_of_another_shape_is_no_answer(lied_to, value):
    store = lied_to(lambda told, *_: told.succeed(value))

    for use in used(store):
        with pytest.raises(LedgerUnavailable, match="cannot be read"):
            use()


@pytest.mark.parametrize("value", [None, 5, to_wire(5), []], ids=str)
def test_a_mark_that_is_no_text_is_no_mark(lied_to, value):
    store = lied_to(lambda told, *_: told.succeed(value))

    with pytest.raises(LedgerUnavailable, match="cannot be read"), store.upkeep().fill("a source"):
        pass


def rows_for(args, row):
    """Return an answer in which every range has one row."""
    answers = [{"rows": [row], "isDone": True} for _ in args["ranges"]]
    return {"nowUs": to_wire(5), "answers": answers}


@pytest.mark.parametrize(
    "row",
    [
        [],
        ["alice"],
        to_wire([1, 2, 3, 4, 5, 6]),
        [1500.0, *to_wire([2, 3, 4, 5, 6, 7])],
        to_wire([1, 2, 3, 4, 5, None, 7]),
        to_wire([1, 2, 3, 4, 5, "6", 7]),
        to_wire([1, 2, 3, 4, 5, 6, "seal"]),
        to_wire([1, 2, 3, 4, 5, 6, 7, 8]),
        to_wire([1, 2, 3, 4, 5, True, 7]),
    ],
    ids=str,
)
def test_a_row_of_another_shape_is_not_taken_for_one(lied_to, row):
    store = lied_to(lambda told, _, args: told.succeed(rows_for(args, row)))

    with pytest.raises(LedgerUnavailable, match="cannot be read"):
        list(store.scan(Account))


def test_a_write_is_believed_only_when_it_is_said_to_stand(lied_to):
    """A word, a number or nothing at all in place of yes and no."""
    for value in ("false", None, 1.0, to_wire(1)):
        store = lied_to(
            lambda told, name, args, value=value: told.succeed(
                value if name == "apply" else {"nowUs": to_wire(5), "answers": none_for(args)}
            )
        )

        with pytest.raises(LedgerUnavailable, match="cannot be read"):
            store.apply([grant("alice", 1)])


def none_for(args):
    return [{"rows": [], "isDone": True} for _ in args["ranges"]]


def test_what_always_conflicts_ends_with_the_deadline_and_is_not_believed(lied_to):
    store = lied_to(
        lambda told, name, args: told.succeed(
            False if name == "apply" else {"nowUs": to_wire(5), "answers": none_for(args)}
        ),
        deadline_s=2,
    )

    with pytest.raises(LedgerUnavailable, match=r"others changed the same rows|timed out"):
        store.apply([grant("alice", 1)])
    assert store.server.asked.count("apply") > 1


def test_an_answer_that_is_never_done_ends_with_the_deadline(lied_to):
    def never(told, _, args):
        told.succeed({"nowUs": to_wire(5), "answers": [{"rows": [], "isDone": False} for _ in args["ranges"]]})

    store = lied_to(never, deadline_s=1)

    with pytest.raises(LedgerUnavailable):
        store.snapshot("alice")


def test_pages_that_go_round_in_a_circle_are_not_followed(lied_to):
    account = to_wire([1, 2, 3, 4, 5, 6, 7])

    def again(told, _, args):
        told.succeed({"nowUs": to_wire(5), "answers": [{"rows": [account] * 500, "isDone": True}]})

    store = lied_to(again)

    with pytest.raises(LedgerUnavailable, match="cannot be read"):
        list(store.scan(Account))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"{", b"[" * 100_000, b'{"status":"success","value":' + b"[" * 900 + b"]" * 900 + b"}", b"\xff" * 99],
    ids=["nothing", "NUL", "half", "deep", "deep inside", "no text"],
)
@pytest.mark.parametrize("status", [200, 560])
def test_what_is_no_json_is_no_answer(lied_to, content, status):
    store = lied_to(lambda told, *_: told.tell(content, status))

    with pytest.raises(LedgerUnavailable):
        store.snapshot("alice")
    with pytest.raises(LedgerUnavailable):
        store.apply([grant("alice", 1)])


@pytest.mark.parametrize("status", [204, 301, 302, 307, 400, 401, 403, 404, 405, 413, 418])
def test_an_answer_that_convex_never_gives_is_another_server(lied_to, status):
    store = lied_to(lambda told, *_: told.tell(b"", status))

    with pytest.raises(CallfareError, match="no Convex deployment") as caught:
        store.apply([grant("alice", 1)])
    assert caught.value.code == "misconfigured"
    assert store.server.asked == ["select"]


def test_an_answer_that_drips_ends_with_the_deadline(lied_to):
    """Each byte comes in time, and the whole never does."""
    let_go = threading.Event()

    def drip(told, *_):
        told.send_response(200)
        told.send_header("Content-Length", "1000000")
        told.end_headers()
        while not let_go.wait(0.05):
            told.wfile.write(b" ")

    store = lied_to(drip, deadline_s=1)

    try:
        with pytest.raises(LedgerUnavailable, match=r"did not end in time|timed out"):
            store.snapshot("alice")
    finally:
        let_go.set()


def test_an_answer_that_is_cut_off_is_asked_for_again(lied_to):
    def cut(told, *_):
        told.send_response(200)
        told.send_header("Content-Length", "1000")
        told.end_headers()
        told.wfile.write(b'{"status":"success"')
        told.close_connection = True

    store = lied_to(cut, deadline_s=1)

    with pytest.raises(LedgerUnavailable, match="retry with the same key"):
        store.snapshot("alice")
    assert len(store.server.asked) > 1


def test_an_answer_without_an_end_is_not_gathered(lied_to, monkeypatch):
    monkeypatch.setattr(convex_http, "_ANSWER_BYTES_MAX", 100_000)
    store = lied_to(lambda told, *_: told.tell(b" " * 200_000), deadline_s=1)

    with pytest.raises(LedgerUnavailable, match="more than 100000 bytes"):
        store.snapshot("alice")


def test_without_a_look_at_the_shape_a_word_would_be_taken_for_yes(lied_to, monkeypatch):
    """A fault planted: whatever is answered is taken as it is."""
    monkeypatch.setattr("callfare.store.convex.checked", lambda _, answer: answer)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_write_is_believed_only_when_it_is_said_to_stand(lied_to)


def test_rows_of_events_are_looked_at_too(lied_to):
    store = lied_to(lambda told, _, args: told.succeed(rows_for(args, ["a"] * (len(Event.__struct_fields__) + 1))))

    with pytest.raises(LedgerUnavailable, match="cannot be read"):
        store.select(EventsBetween(account_id=1, since_us=0, until_us=5))
