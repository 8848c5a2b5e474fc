"""What processes do in test_forks.py. Each function is the whole of one process; it prints what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import threading

from callfare.committer import Committer
from callfare.errors import CallfareError
from callfare.ledger.rows import Key
from callfare.store import sqlite
from callfare.store.memory import MemoryStore
from callfare.store.sqlite import SqliteStore
from tests.support.audit import faults
from tests.support.commands import grant

_CHILDREN = 20


def parent_closes_before_its_child(path: str) -> None:
    """Fork with the store in use; the parent closes it while the child goes on writing."""
    store = SqliteStore(path)
    store.create()
    store.apply([grant("alice", 1, key="parent")])
    store.snapshot("alice")
    to_parent, from_child = os.pipe()
    to_child, from_parent = os.pipe()
    if os.fork() == 0:
        store.apply([grant("alice", 1, key="child before")])
        os.write(from_child, b".")
        os.read(to_child, 1)
        store.apply([grant("alice", 1, key="child after")])
        os._exit(0)
    os.read(to_parent, 1)
    store.close()
    os.write(from_parent, b".")
    os.wait()
    print(*(row.key for row, _ in SqliteStore(path).scan(Key)), sep="\n")


def many_children_of_a_busy_parent(path: str) -> None:
    """Fork again and again while threads of the parent write and read; every child writes as well."""
    store = SqliteStore(path)
    store.create()
    committer = Committer(store)
    stop = threading.Event()

    def write(name: int) -> None:
        number = 0
        while not stop.is_set():
            committer.commit(grant("alice", 1, key=f"parent {name} {number}"))
            store.snapshot("alice")
            number += 1

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for number in range(_CHILDREN):
        if os.fork() == 0:
            committer.commit(grant("alice", 1, key=f"child {number}"))
            os._exit(0 if store.snapshot("alice") else 1)
    statuses = [os.wait()[1] for _ in range(_CHILDREN)]
    stop.set()
    for thread in threads:
        thread.join()
    committer.close()
    print(statuses.count(0))
    print(sum(row.key.startswith("child") for row, _ in store.scan(Key)))


def children_of_a_child(path: str) -> None:
    """Fork twice: what a child opens is closed before it forks as well."""
    store = SqliteStore(path)
    store.create()
    store.apply([grant("alice", 1, key="parent")])
    if os.fork() == 0:
        store.apply([grant("alice", 1, key="child")])
        if os.fork() == 0:
            store.apply([grant("alice", 1, key="grandchild")])
            os._exit(0)
        os.wait()
        os._exit(0)
    os.wait()
    print(*(row.key for row, _ in store.scan(Key)), sep="\n")


def forked_behind_pythons_back(path: str) -> None:
    """Fork in C, which runs none of Python's hooks."""
    store = SqliteStore(path)
    store.create()
    committer = Committer(store)
    committer.commit(grant("alice", 1, key="parent"))
    if ctypes.CDLL(None).fork() == 0:
        try:
            committer.commit(grant("alice", 1, key="child"))
        except CallfareError as error:
            os.write(1, f"{error.code}: {error.message}\n".encode())
        os._exit(0)
    os.wait()


def children_that_share_a_committer(path: str) -> None:
    """In the child, threads race to be the first to use an inherited committer; none may wait for ever."""
    store = SqliteStore(path)
    store.create()
    committer = Committer(store)
    committer.commit(grant("alice", 1, key="parent"))
    if os.fork() == 0:
        begin = threading.Barrier(8)

        def write(name: int) -> None:
            begin.wait()
            committer.commit(grant("alice", 1, key=f"child {name}"))

        threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    os.wait()
    print(len(list(store.scan(Key))))


def forked_while_a_thread_holds_every_lock(path: str) -> None:
    """Fork while another thread starts the committer's thread, writes, and writes to memory as well."""
    store = SqliteStore(path)
    store.create()
    memory = MemoryStore()
    lanes = [Committer(store), Committer(memory)]
    locks = [lock for lane in lanes for lock in (lane._lane, lane._starting)]
    has_all, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            has_all.set()
            may_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    has_all.wait()
    if os.fork() == 0:
        for lane in lanes:
            asyncio.run(lane.commit_async(grant("alice", 1, key="child")))
            lane.commit(grant("alice", 1, key="child again"))
            lane.close()
        os.write(1, f"child {len(list(memory.scan(Key)))}\n".encode())
        os._exit(0)
    os.wait()
    may_go.set()
    holder.join()
    print(*(row.key for row, _ in store.scan(Key)), sep="\n")


def forked_while_memory_is_written(path: str) -> None:
    """Fork again and again while a thread writes to memory; every child reads and writes what it inherits."""
    memory = MemoryStore()
    memory.apply([grant("alice", 1, key="first")])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            memory.apply([grant("alice", 1, key=f"parent {number}")])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(_CHILDREN):
        if os.fork() == 0:
            memory.apply([grant("alice", 1, key="child")])
            os._exit(len(faults(memory)))
    statuses = [os.wait()[1] for _ in range(_CHILDREN)]
    stop.set()
    writer.join()
    print(statuses.count(0), path)


def forked_in_the_middle_of_a_long_read(path: str) -> None:
    """Fork while the forking thread itself reads everything at one instant."""
    sqlite._FORK_WAIT_S = 0.1  # type: ignore[assignment]
    store = SqliteStore(path)
    store.create()
    store.apply([grant("alice", 1, key="parent")])
    with store.one_instant() as scan:
        if os.fork() == 0:
            try:
                store.snapshot("alice")
            except CallfareError as error:
                os.write(1, f"{error.code}: {error.message}\n".encode())
            os._exit(0)
        os.wait()
        print(len(list(scan(Key))))
    store.apply([grant("alice", 1, key="parent again")])
    print(len(list(store.scan(Key))))
