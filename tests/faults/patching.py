"""What processes do in test_gevent.py: gevent patches the standard library before or after callfare is imported."""

from __future__ import annotations

import importlib


def patched_first(path: str) -> None:
    """Patch, then import callfare, then write from many greenlets."""
    importlib.import_module("gevent.monkey").patch_all()
    gevent = importlib.import_module("gevent")
    committing = importlib.import_module("callfare.committer")
    sqlite = importlib.import_module("callfare.store.sqlite")
    make = importlib.import_module("tests.support.commands")
    store = sqlite.SqliteStore(path)
    store.create()
    committer = committing.Committer(store)

    def work(name: int) -> int:
        for number in range(5):
            committer.commit(make.grant("alice", 1, key=f"{name} {number}"))
            gevent.sleep(0)
        return 5

    greenlets = [gevent.spawn(work, name) for name in range(20)]
    gevent.joinall(greenlets, timeout=120, raise_error=True)
    committer.close()
    print(sum(greenlet.value or 0 for greenlet in greenlets), store.facts().rows["keys"])


def patched_late(path: str) -> None:
    """Import callfare, then patch, then write: from the main greenlet, and where the committer's thread is needed."""
    committing = importlib.import_module("callfare.committer")
    errors = importlib.import_module("callfare.errors")
    sqlite = importlib.import_module("callfare.store.sqlite")
    make = importlib.import_module("tests.support.commands")
    asyncio = importlib.import_module("asyncio")
    store = sqlite.SqliteStore(path)
    store.create()
    importlib.import_module("gevent.monkey").patch_all()
    try:
        committer = committing.Committer(store)
        asyncio.run(committer.commit_async(make.grant("alice", 1)))
        print("written")
    except errors.CallfareError as error:
        print(f"{error.code}: {error.message}")


def patched_after_opening(path: str) -> None:
    """Open and write, then patch, then write from greenlets."""
    committing = importlib.import_module("callfare.committer")
    errors = importlib.import_module("callfare.errors")
    sqlite = importlib.import_module("callfare.store.sqlite")
    make = importlib.import_module("tests.support.commands")
    store = sqlite.SqliteStore(path)
    store.create()
    committer = committing.Committer(store)
    committer.commit(make.grant("alice", 1, key="before"))
    importlib.import_module("gevent.monkey").patch_all()
    gevent = importlib.import_module("gevent")

    def work(name: int) -> str:
        try:
            committer.commit(make.grant("alice", 1, key=f"after {name}"))
        except errors.CallfareError as error:
            return f"{error.code}"
        return "written"

    greenlets = [gevent.spawn(work, name) for name in range(5)]
    gevent.joinall(greenlets, timeout=120, raise_error=True)
    print(*sorted({greenlet.value for greenlet in greenlets}))
