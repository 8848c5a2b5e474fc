"""What every command shares: the options that may stand before and after its name, and the ledger they lead to."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callfare.cli.screen import Screen, aside, standard

if TYPE_CHECKING:
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
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document, amounts exact.")]
BookOption = Annotated[
    list[Path] | None,
    typer.Option("--book", metavar="FILE", help="A price book of your own; may be repeated, the first decides."),
]
SeedOption = Annotated[bool, typer.Option("--no-seed-prices", help="Do without the prices that come with callfare.")]
MarkupOption = Annotated[
    str | None, typer.Option("--markup", metavar="FACTOR", help="What list cost is multiplied by; 1 if not given.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of every command, as they were given."""

    db: str | None = None
    json: bool = False
    book: tuple[Path, ...] = ()
    no_seed_prices: bool = False
    markup: str | None = None

    def with_later(self, later: Options) -> Options:
        """Return these options with those given after the command's name, which decide."""
        return Options(
            db=later.db if later.db is not None else self.db,
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

    @contextmanager
    def fare(self) -> Iterator[Callfare]:
        """Open the ledger for as long as the block lasts."""
        from callfare.callfare import Callfare

        options = self.options
        with Callfare(
            options.db, books=options.book, seed_prices=not options.no_seed_prices, markup=options.markup or 1
        ) as fare:
            yield fare

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Open what the façade stands on, for commands about the ledger itself."""
        from callfare.facade import open_engine

        options = self.options
        engine = open_engine(
            options.db,
            options.book,
            seed_prices=not options.no_seed_prices,
            markup=options.markup or 1,
            require_user=False,
            clock=None,
        )
        try:
            yield engine
        finally:
            engine.close()

    def answer(self, value: object, tell: Callable[[Screen], None]) -> None:
        """Write an answer: its exact values as JSON where that was asked for, else as `tell` tells it."""
        from callfare.answers import plain

        if self.options.json:
            self.screen.document(plain(value))
        else:
            tell(self.screen)

    def command(self, *words: str, operand: str = "") -> str:
        """Return a command on the same ledger that can be pasted into a shell. `operand` may begin with a dash."""
        ledger = [] if self.options.db is None else ["--db", self.options.db]
        operands = ["--", operand] if operand.startswith("-") else [operand] if operand else []
        return shlex.join(["callfare", *words, *ledger, *operands])

    def more(self, cursor: str | None, *words: str, operand: str) -> None:
        """Say how to ask for what follows a page. Beside the answer, so that rows stay rows in a pipe."""
        if cursor is not None and not self.options.json:
            self.aside.line(f"more: {self.command(*words, '--cursor', cursor, operand=operand)}", "below")


def _every_command(
    db: DbOption = None,
    json: JsonOption = False,
    book: BookOption = None,
    no_seed_prices: SeedOption = False,
    markup: MarkupOption = None,
) -> Options:
    """Return the options that every command takes."""
    return Options(db=db, json=json, book=tuple(book or ()), no_seed_prices=no_seed_prices, markup=markup)


_SHARED: Sequence[inspect.Parameter] = tuple(
    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for parameter in inspect.signature(_every_command, eval_str=True).parameters.values()
)
_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command as typer takes it: with the options of every command, which become its session."""

    def run(context: typer.Context, **given: Any) -> None:
        later = _every_command(**{parameter.name: given.pop(parameter.name) for parameter in _SHARED})
        earlier = context.find_root().obj or Options()
        command(Session(earlier.with_later(later)), **given)

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    signature = inspect.Signature([_CONTEXT, *(p.replace(kind=p.KEYWORD_ONLY) for p in own), *_SHARED])
    run.__signature__ = signature  # type: ignore[attr-defined]  # where inspect looks first
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
