"""What every command shares: the options that may stand before and after its name, and the ledger they lead to."""

from __future__ import annotations

import inspect
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callfare.cli import given, show
from callfare.cli.screen import Screen, aside, standard
from callfare.errors import CallfareError, InvalidInput, OnlyLocal

if TYPE_CHECKING:
    from datetime import datetime

    from callfare.callfare import Callfare
    from callfare.engine.engine import Engine

DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="The ledger. CALLFARE_DATABASE_URL where it is not given, else sqlite:///callfare.db.",
    ),
]
ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="A server to ask, in place of a ledger on this machine.")
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="With --server: where its key is; CALLFARE_API_KEY otherwise."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document, amounts exact.")]
BookOption = Annotated[
    list[Path] | None,
    typer.Option("--book", metavar="FILE", help="A price book of your own; may be repeated, the first decides."),
]
SeedOption = Annotated[bool, typer.Option("--no-seed-prices", help="Do without the prices that come with callfare.")]
MarkupOption = Annotated[
    str | None, typer.Option("--markup", metavar="FACTOR", help="What list cost is multiplied by; 1 if not given.")
]


# A command of ours that a message names between backticks.
_HINT = re.compile(r"`callfare (?P<words>[^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of every command, as they were given."""

    db: str | None = None
    server: str | None = None
    key_file: Path | None = None
    json: bool = False
    book: tuple[Path, ...] = ()
    no_seed_prices: bool = False
    markup: str | None = None

    def with_later(self, later: Options) -> Options:
        """Return these options with those given after the command's name, which decide."""
        return Options(
            db=later.db if later.db is not None else self.db,
            server=later.server if later.server is not None else self.server,
            key_file=later.key_file if later.key_file is not None else self.key_file,
            json=self.json or later.json,
            book=self.book + later.book,
            no_seed_prices=self.no_seed_prices or later.no_seed_prices,
            markup=later.markup if later.markup is not None else self.markup,
        )


class Session:
    """One command being run: its options, its screens, and the ledger it asks."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.screen = standard()
        self.aside = aside()

    @property
    def _address(self) -> str | None:
        """The ledger's address, or the server's, as given.

        Raises InvalidInput where both are given, and for a server's address that is none.
        """
        server = self.options.server
        if server is None:
            return self.options.db
        if self.options.db is not None:
            raise InvalidInput("--server and --db name two ledgers; give one of them", param="server")
        if server.partition(":")[0].lower() not in {"http", "https"}:
            raise InvalidInput("--server takes an address such as https://billing.example.com", param="server")
        return server

    def _prices(self) -> dict[str, Any]:
        """Return how the ledger is to price, as given."""
        options = self.options
        markup = 1 if options.markup is None else given.factor(options.markup)
        return {"seed_prices": not options.no_seed_prices, "markup": markup}

    @contextmanager
    def fare(self) -> Iterator[Callfare]:
        """Open the ledger for as long as the block lasts."""
        from callfare.callfare import Callfare

        with (
            _heard(self.aside, is_quiet=self.options.json),
            Callfare(self._address, books=self.options.book, **self._prices(), api_key=self._key()) as fare,
        ):
            yield fare

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Open what the façade stands on, for commands about the ledger itself."""
        from callfare.facade import open_engine

        options = self.options
        engine = open_engine(
            self._address, options.book, **self._prices(), require_user=False, clock=None, api_key=self._key()
        )
        try:
            yield engine
        finally:
            engine.close()

    def _key(self) -> str | None:
        """Return the key that stands in the file that was named, None where none was.

        Raises InvalidInput when it cannot be read.
        """
        file = self.options.key_file
        if file is None:
            return None
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in ASCII"
            raise InvalidInput(f"the key in {file} cannot be read: {reason}", param="key_file") from None

    def answer(self, value: object, tell: Callable[[Screen], None]) -> None:
        """Write an answer: its exact values as JSON where that was asked for, else as `tell` tells it."""
        from callfare.answers import plain

        if self.options.json:
            self.screen.document(plain(value))
        else:
            tell(self.screen)

    def refuse_passing(self) -> None:
        """Return when what a command writes outlasts it.

        Raises InvalidInput for a ledger in the memory of this process.
        """
        address = os.environ.get("CALLFARE_DATABASE_URL", "") if self.options.db is None else self.options.db
        if address.partition(":")[0].lower() == "memory":
            raise InvalidInput(
                "a ledger in memory ends with this command, so nothing would be kept; "
                "name a file, such as --db sqlite:///callfare.db",
                param="db",
            )

    def refuse_server(self, doing: str) -> None:
        """Return when the ledger itself is named, which a command needs.

        Raises OnlyLocal for a server in front of it.
        """
        address = self._address if self._address is not None else os.environ.get("CALLFARE_DATABASE_URL", "")
        if address.partition(":")[0].lower() in {"http", "https"}:
            from callfare.store.open import without_password

            raise OnlyLocal(
                f"`{doing}` works on the ledger itself, and {without_password(address)} is a server in front of it; "
                "run it on the server's machine, with --db",
                param="server",
            )

    def command(self, *words: str, operand: str = "") -> str:
        """Return a command on the same ledger that can be pasted into a shell. `operand` may begin with a dash."""
        operands = ["--", operand] if operand.startswith("-") else [operand] if operand else []
        return shlex.join(["callfare", *words, *self._ledger(), *operands])

    def reprice(self) -> str:
        """Return the command that rates again on the same ledger, by the same prices."""
        return shlex.join(["callfare", "reprice", *self._ledger(), *self._books()])

    def showing_prices(self, model: str, *, provider: str, at: datetime) -> str:
        """Return the command that shows what a model cost at an instant, by the same prices, and where it was read."""
        whose = ["--provider", provider] if provider else []
        instant = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        options = [*whose, "--at", instant, *self._ledger(), *self._books()]
        return shlex.join(["callfare", "prices", "show", *options, *(["--"] if model.startswith("-") else []), model])

    def unopened(self, edition: str) -> list[str]:
        """Return the books of a charge's edition that were not given to this command; a server has its own."""
        if self.options.server is not None:
            return []
        with self.engine() as engine:
            opened = {layer.edition for layer in engine.settings.book.layers}
        return [name for name in edition.split(",") if name and name not in opened]

    def pasteable(self, text: str) -> str:
        """Return a text whose commands of ours name the ledger, and the price books, that this command was given."""
        return _HINT.sub(self._on_this_ledger, text)

    def _on_this_ledger(self, hint: re.Match[str]) -> str:
        words = hint["words"]
        ledger = "" if "--db " in words or "--server " in words else shlex.join(self._ledger())
        if words.startswith("reprice") and self.options.book:
            words = f"reprice {shlex.join(self._books())}"
        return f"`{' '.join(filter(None, ['callfare', ledger, words]))}`"

    def _ledger(self) -> list[str]:
        from callfare.store.open import without_password

        options = self.options
        key_file = [] if options.key_file is None else ["--key-file", str(options.key_file)]
        if options.server is not None:
            return ["--server", without_password(options.server), *key_file]
        return [] if options.db is None else ["--db", without_password(options.db)]

    def _books(self) -> list[str]:
        options = self.options
        books = [word for book in options.book for word in ("--book", str(book))]
        seed = ["--no-seed-prices"] if options.no_seed_prices else []
        return [*books, *seed, *([] if options.markup is None else ["--markup", options.markup])]

    def unheard_of(self, user: str) -> None:
        """Say beside the answer that the ledger has nothing of a user, whose zeros may be those of a slip."""
        if not self.options.json:
            self.aside.line(
                f"nothing is known of {show.clean(user)}: no credit, no run and no call; upper and lower case differ",
                "warn",
            )

    def more(self, cursor: str | None, *words: str, operand: str) -> None:
        """Say how to ask for what follows a page. Beside the answer, so that rows stay rows in a pipe."""
        if cursor is not None and not self.options.json:
            self.aside.line(f"more: {self.command(*words, '--cursor', cursor, operand=operand)}", "below")


@contextmanager
def _heard(screen: Screen, *, is_quiet: bool) -> Iterator[None]:
    """Say what the ledger reports of itself, such as that it was made, or have nobody say it, while the block lasts."""
    # A logger without any handler would write its warnings itself.
    logger, voice = logging.getLogger("callfare"), logging.NullHandler() if is_quiet else _Voice(screen)
    level = logger.level
    logger.addHandler(voice)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(voice)
        logger.setLevel(level)


class _Voice(logging.Handler):
    """Writes what is logged beside the answer."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a line."""
        self._screen.line(show.clean(record.getMessage()))


def every_command(
    *,
    db: DbOption = None,
    server: ServerOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
    book: BookOption = None,
    no_seed_prices: SeedOption = False,
    markup: MarkupOption = None,
) -> Options:
    """Return the options that every command takes."""
    return Options(
        db=db,
        server=server,
        key_file=key_file,
        json=json,
        book=tuple(book or ()),
        no_seed_prices=no_seed_prices,
        markup=markup,
    )


_SHARED: Sequence[inspect.Parameter] = tuple(
    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for parameter in inspect.signature(every_command, eval_str=True).parameters.values()
)
_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


def with_options(command: Callable[..., None], *, is_local: bool = False) -> Callable[..., None]:
    """Return a command as typer takes it: with the options of every command, which become its session.

    is_local: it reads or writes the ledger itself, so no server is asked for it.
    """

    def run(context: typer.Context, **values: Any) -> None:
        later = every_command(**{parameter.name: values.pop(parameter.name) for parameter in _SHARED})
        earlier = context.find_root().obj or Options()
        session = Session(earlier.with_later(later))
        try:
            if is_local:
                session.refuse_server(context.info_name or command.__name__)
            command(session, **values)
        except CallfareError as error:
            error.message = session.pasteable(error.message)
            raise

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    signature = inspect.Signature([_CONTEXT, *(p.replace(kind=p.KEYWORD_ONLY) for p in own), *_SHARED])
    run.__signature__ = signature  # type: ignore[attr-defined]  # where inspect looks first
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
