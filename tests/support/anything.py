"""Commands of any kind by chance, as users and providers might send them in any order."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from callfare.errors import CallfareError
from tests.support.books import Books
from tests.support.commands import (
    HOUR_S,
    START,
    START_US,
    TOKENS,
    adjust,
    close,
    extend,
    grant,
    heard,
    open_run,
    pend,
    record,
    refund,
    settle,
    step,
)
from tests.support.rich import MORE_TOKENS, RAW


def write_anything(books: Books, chance: random.Random) -> None:
    """Write sixty commands of any kind; what is refused is refused."""
    for _ in range(60):
        user = chance.choice(["alice", "bob"])
        run_id = chance.choice(["r1", "r2", "r3", None])
        amount = chance.choice([0, 1, "2.5", 7, 20, 45])
        whose: dict[str, Any] = {"run_id": run_id, "user": "" if run_id else user}
        whose["usage"] = chance.choice([TOKENS, MORE_TOKENS, '{"input_tokens":"5"}'])
        key = f"call-{chance.randrange(14)}"
        response = f"resp_{chance.randrange(4)}"
        soon = START + timedelta(microseconds=books.clock.now_us() - START_US, seconds=100)
        command = chance.choice(
            [
                grant(
                    user,
                    chance.choice([5, 50, 100]),
                    key=f"grant-{chance.randrange(9)}",
                    source=chance.choice(["purchase", "promo", "plan", "adjustment"]),
                    expires_at=chance.choice([None, soon]),
                ),
                open_run(
                    run_id or "r1",
                    user,
                    hold=chance.choice([0, 5, 20, 40]),
                    on_failure=chance.choice(["charge", "waive"]),
                    ttl_s=chance.choice([50, HOUR_S]),
                ),
                record(amount, key=key, raw=chance.choice([None, RAW]), is_estimated=chance.random() < 0.2, **whose),
                record(key=key, is_unpriced=True, **whose),
                heard(amount, response, **whose),
                step(amount, f"step-{chance.randrange(3)}", chance.choice(["", response]), **whose),
                adjust(
                    amount,
                    key=chance.choice([key, "video-0", f"response:openai::{response}"]),
                    kind=chance.choice(["correction", "reprice"]),
                    user=user,
                    usage=whose["usage"],
                    is_unpriced=chance.random() < 0.2,
                ),
                close(run_id or "r1", chance.choice(["completed", "failed"]), key=chance.choice([None, "close-1"])),
                extend(run_id or "r1", chance.choice([1, 10]), key=f"extend-{chance.randrange(6)}"),
                pend(amount, job_id=f"video-{chance.randrange(3)}", ttl_s=chance.choice([60, HOUR_S]), **whose),
                settle(f"video-{chance.randrange(3)}", chance.choice(["completed", "failed"])),
                refund(
                    chance.choice([1, 20]),
                    user=user,
                    key=f"refund-{chance.randrange(5)}",
                    grant_key=f"grant-{chance.randrange(9)}",
                ),
                None,
            ]
        )
        if command is None:
            books.advance(seconds=chance.choice([1, 30, 200, 4000]))
            continue
        try:
            books.do(command)
        except CallfareError:
            continue
