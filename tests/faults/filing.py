"""What processes do in test_files.py and test_migrations.py: each function is the whole of one process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import apsw

from callfare.errors import CallfareError
from callfare.store import sqlite_file
from callfare.store.postgres import PostgresStore
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore
from tests.support.commands import grant

NOBODY = 65534


def create_at_the_same_moment(path: str, name: str) -> None:
    """Say that it is ready, wait for a word, then create the ledger and write to it."""
    store: Store = PostgresStore(path) if path.startswith("postgresql:") else SqliteStore(path)
    sqlite_file.load_migrations("sqlite")
    print("ready")
    sys.stdin.readline()
    is_new = store.create()
    store.apply([grant("alice", 1, key=name)])
    print("new" if is_new else "there")


def be_killed_at_every_statement(folder: str) -> None:
    """For each statement of making a ledger: die just before it, then make the same ledger in another process."""
    points = 0
    is_over = False
    while not is_over:
        path = f"{folder}/ledger-{points}.db"
        if os.fork() == 0:
            _die_before(points)
            SqliteStore(path).create()
            os._exit(0)
        _, status = os.wait()
        is_over = status == 0
        assert is_over or os.WTERMSIG(status) == signal.SIGKILL
        store = SqliteStore(path)
        is_new = store.create()
        assert is_new or is_over or points >= _statements(), points
        assert not isinstance(store.apply([grant("alice", 1, key="after")])[0], CallfareError)
        assert store.facts().schema_version == sqlite_file.load_migrations("sqlite")[-1].number
        store.close()
        points += 1
    print(points > _statements())


def _die_before(left: int) -> None:
    """Have the next connection kill this process before its statement of this number."""
    real = apsw.Connection

    def trace(cursor: object, sql: str, bindings: object) -> bool:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return True

    def connect(*arguments: Any, **named: Any) -> apsw.Connection:
        connection = real(*arguments, **named)
        connection.exec_trace = trace
        return connection

    sqlite_file.apsw.Connection = connect  # type: ignore[misc, assignment]


def _statements() -> int:
    """Return how many statements the schema has."""
    return sum(step.sql.count("CREATE ") for step in sqlite_file.load_migrations("sqlite"))


def read_where_nothing_may_be_written(path: str, mode: str) -> None:
    """Give up all rights, then read, and try to write."""
    store = SqliteStore(path, is_readonly=mode == "ro")
    sqlite_file.load_migrations("sqlite")
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        print(store.snapshot("alice") is not None)
    except CallfareError as error:
        print(error.code, error.message)
    try:
        store.apply([grant("alice", 1, key="more")])
    except CallfareError as error:
        print(error.code)


def fill_the_disk(path: str) -> None:
    """Write until there is no space, go on reading, make space, and write again."""
    store = SqliteStore(path)
    store.create()
    written = 0
    try:
        while written < 100_000:
            store.apply([grant("alice", 1, key=f"key-{written}-{number}") for number in range(200)])
            written += 200
    except CallfareError as error:
        print(error.code)
    print(store.facts().rows["keys"] == written)
    Path(path).with_name("ballast").unlink()
    store.apply([grant("alice", 1, key="after")])
    print(store.facts().rows["keys"] == written + 1)


def hold_the_write_lock(path: str) -> None:
    """Hold the lock of a file until told to let go."""
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    print("locked")
    sys.stdin.readline()
    connection.execute("ROLLBACK")


def many_threads(path: str) -> None:
    """Write and read from many threads on one store."""
    store = SqliteStore(path)
    store.create()
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(20):
                store.apply([grant("alice", 1, key=f"{name} {number}")])
                assert store.snapshot("alice") is not None
        except BaseException as failure:  # noqa: BLE001 - the test looks at it
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    print(len(failures), store.facts().rows["keys"])
