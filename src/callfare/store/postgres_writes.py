"""How the rows of a batch are told to PostgreSQL: by statement, each with one JSON array of rows in column order.

A processor's message is the one row whose text is large. It goes beside the array as it is: quoting it, and reading it
as JSON, took the server longer than keeping it. When the message moves on, the text does not go again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from callfare.ledger.rows import TABLES, Hold, digest_of
from callfare.ledger.sale_rows import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callfare.ledger.rows import Row

_encode = msgspec.json.Encoder().encode
_PUT = {table: f"put_{table.table}" for table in TABLES}
# Holds come and go under the lock of their account, so that one statement does for both.
_MOVE = _PUT | {table: f"move_{table.table}" for table in TABLES if table is not Hold}


class Writes:
    """The rows of a batch, by the statement that writes them."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, list[bytes]] = defaultdict(list)
        self._bodies = bytearray()

    def add(self, row: Row, *, is_there: bool) -> None:
        """Have a row written. is_there: it was found, and is put in the place of what was."""
        if isinstance(row, Hold) and not row.amount_nanocredits:
            self._rows["drop_holds"].append(_encode(row))
        elif isinstance(row, Delivery):
            self._add_message(row, is_there=is_there)
        else:
            self._rows[(_MOVE if is_there else _PUT)[type(row)]].append(_sealed(row))

    def add_told(self, statement: str, told: bytes) -> None:
        """Have a row written that is in the words of its statement already."""
        self._rows[statement].append(told)

    def _add_message(self, row: Delivery, *, is_there: bool) -> None:
        seal = digest_of(_encode(row))
        if is_there:
            moved = (
                row.account_id, row.message_id, row.state, row.attempts, row.claimed_until_us, row.reason,
                row.settled_at_us, seal,
            )  # fmt: skip
            self._rows["move_inbox"].append(_encode(moved))
            return
        body = row.body.encode()
        place = (len(self._bodies) + 1, len(body))
        self._bodies += body
        kept = (
            row.account_id, row.message_id, row.event_type, row.object_id, row.mode, row.api_version, row.said_at_us,
            *place, row.state, row.attempts, row.claimed_until_us, row.reason, row.received_at_us, row.settled_at_us,
            seal,
        )  # fmt: skip
        self._rows["keep_inbox"].append(_encode(kept))

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the statements with their parameters."""
        for name, values in self._rows.items():
            told = {"rows": (b"[" + b",".join(values) + b"]").decode(), "count": len(values)}
            yield name, told | {"bodies": bytes(self._bodies)} if name == "keep_inbox" else told


def _sealed(row: Row) -> bytes:
    """Return a row as a JSON array with its seal at the end."""
    encoded = _encode(row)
    return b"%b,%d]" % (encoded[:-1], digest_of(encoded))
