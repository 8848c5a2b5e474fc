"""Exports through a server: the same bytes as where the ledger is, gone on with where they are cut off."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from callfare import Callfare, LedgerUnavailable
from callfare.engine.exported import KINDS
from callfare.engine.exporting import Export, export_to
from callfare.errors import CallfareError, Forbidden
from tests.support.commands import grant
from tests.support.cut_answers import scissors

FORMATS = ("csv", "jsonl")
MANY = 2000


@pytest.fixture
def written(serving):
    """A server in front of a ledger with rows of most kinds, of three users."""
    with client(serving.url, serving) as fare:
        for user in ("alice", "bob", "=carol"):
            fare.grant(user, 100, key="welcome")
            with fare.run("story", user=user, run_id="story-1", hold=10) as run:
                run.record("gpt-5-mini", {"input_tokens": 1200}, metadata={"said": 'two\nlines, "quoted"'})
            fare.record("gpt-image-1", {"images": 1}, user=user, key="alone", attributes={"size": "1024x1024"})
    return serving


@pytest.fixture
def many(serving):
    """A server in front of a ledger with a few thousand transfers."""
    serving.engine.store.apply([grant("alice", 1, key=f"grant-{number}") for number in range(MANY)])
    return serving


def client(url, serving, caller="service"):
    return Callfare(url, api_key=serving.credentials[caller])


def here(serving, kind, format="csv", **named):
    stream = io.BytesIO()
    export_to(stream, serving.engine.store, Export(kind, format=format, **named))
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_through_a_server_has_the_same_bytes(written, tmp_path, form):
    with client(written.url, written) as fare:
        for kind in KINDS:
            fare.export(kind, tmp_path / kind, format=form)

    assert {kind: (tmp_path / kind).read_bytes() for kind in KINDS} == {
        kind: here(written, kind, form) for kind in KINDS
    }


def test_a_user_and_a_window_are_the_servers_to_mind(written, tmp_path):
    since, until = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)

    with client(written.url, written) as fare:
        of_bob = fare.export("events", tmp_path / "bob", user="bob")
        of_then = fare.export("events", tmp_path / "then", since=since, until=until)

    assert (of_bob.row_count, of_then.row_count) == (2, 0)
    assert (tmp_path / "bob").read_bytes() == here(written, "events", user="bob")


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_is_cut_off_is_gone_on_with(many, tmp_path, form):
    with (
        scissors(many.port, [1000, 40_000, 2000, 70_000]) as proxy,
        client(f"http://127.0.0.1:{proxy.port}", many) as fare,
    ):
        done = fare.export("transfers", tmp_path / "all", format=form)

        assert proxy.lengths == []
        assert sum(b"after=" in asked for asked in proxy.asked) == 4

    assert done.row_count == MANY
    assert (tmp_path / "all").read_bytes() == here(many, "transfers", form)


@pytest.mark.parametrize("form", FORMATS)
def test_one_that_cannot_be_ended_now_is_ended_by_resume(many, tmp_path, form):
    dead_end = [40_000, 0, 0, 0]
    with (
        scissors(many.port, dead_end) as proxy,
        client(f"http://127.0.0.1:{proxy.port}", many) as fare,
        pytest.raises(LedgerUnavailable),
    ):
        fare.export("transfers", tmp_path / "all", format=form)
    with client(many.url, many) as fare:
        done = fare.export("transfers", tmp_path / "all", format=form, resume=True)

    assert 0 < done.resumed_after < MANY
    assert done.row_count == MANY
    assert (tmp_path / "all").read_bytes() == here(many, "transfers", form)


def test_a_server_that_is_not_there_leaves_no_file(tmp_path):
    fare = Callfare("http://127.0.0.1:9", api_key="cf_test_x", deadline_s=1)

    with fare, pytest.raises(LedgerUnavailable):
        fare.export("events", tmp_path / "all")

    assert list(tmp_path.glob("all")) == []


def test_a_key_without_the_scope_is_refused_and_one_of_a_user_gets_theirs(written, tmp_path):
    with client(written.url, written, "meter") as fare, pytest.raises(Forbidden):
        fare.export("events", tmp_path / "none")
    with client(written.url, written, "bound") as fare:
        done = fare.export("events", tmp_path / "own")

    assert done.row_count == 2
    assert (tmp_path / "own").read_bytes() == here(written, "events", user="alice")


@contextmanager
def answering(body, headers):
    """A server that answers everything with a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (Export("users").head(), {}, "ledger_unavailable"),
        (Export("users").head(), {"Content-Length": "500"}, "ledger_unavailable"),
        (b"user,id\n", {"Content-Length": "8"}, "misconfigured"),
        (b"x" * (17 << 20), {"Content-Length": str(17 << 20)}, "ledger_unavailable"),
    ],
    ids=["no end", "cut off", "other columns", "one endless line"],
)
def test_an_answer_that_is_no_whole_export_is_taken_for_none(tmp_path, body, headers, code):
    with (
        answering(body, headers) as url,
        Callfare(url, api_key="cf_test_x") as fare,
        pytest.raises(CallfareError) as raised,
    ):
        fare.export("users", tmp_path / "all")

    assert raised.value.code == code
    assert not (tmp_path / "all").exists()


def test_what_is_no_key_is_refused(serving):
    beyond = ["[9223372036854775808,1]", "[1,-9223372036854775809]"]
    others = ["", "x", "1", "[]", "[1]", "[1,2,3]", '["1",2]', "[true,1]", "[1.0,1]", "[null,1]", '{"a":1}', "[" * 50]
    names = ['[1,"\\u0000"]', '[1,"\\ud800"]', '[1,"' + "x" * 2000 + '"]', "[1,1]"]

    with serving.client() as asking:
        answers = [
            asking.get(f"/api/billing/export/{kind}", params={"after": after})
            for kind, keys in (("transfers", beyond + others), ("events", names))
            for after in keys
        ]

    assert {(answer.status_code, answer.json()["error"]["param"]) for answer in answers} == {(400, "after")}


def test_a_users_key_goes_on_with_nobody_elses_rows(written):
    with written.client() as asking:
        rows = asking.get("/api/billing/export/transfers", params={"userId": "bob", "format": "jsonl"}).text
    account = int(rows.split('"account_id":')[1].partition(",")[0])

    with written.client("bound") as asking:
        answer = asking.get("/api/billing/export/transfers", params={"after": f"[{account},0]"})

    assert answer.status_code == 400
    assert "bob" not in answer.text
