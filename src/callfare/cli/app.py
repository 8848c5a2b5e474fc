"""The application: its commands, its help, and the one place where errors become words and exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from callfare.cli import (
    access,
    assisting,
    buying,
    checking,
    completing,
    convexing,
    exits,
    importing,
    operating,
    prices,
    reading,
    selling,
    serving,
    show,
    spooled,
    watching,
    writing,
)
from callfare.cli.screen import complain, is_lost_output, leave_quietly, leave_unheard
from callfare.cli.session import (
    BookOption,
    DbOption,
    JsonOption,
    KeyFileOption,
    MarkupOption,
    SeedOption,
    ServerOption,
    every_command,
    with_options,
)
from callfare.errors import CallfareError, InvalidInput
from callfare.wiring import env_file

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "callfare"

# typer brings its own click; its public BadParameter leads to the class of all errors in how a command was written.
_UsageError: Any = typer.BadParameter.__base__

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in exits.MEANINGS.items())


class Root(TyperGroup):
    """The root command. Whatever a command ends with becomes an exit code here, and no error shows a traceback."""

    def main(self, args: Sequence[str] | None = None, *_: object, **_extra: object) -> NoReturn:
        """Run a command and exit with its code."""
        words = sys.argv[1:] if args is None else list(args)
        if not completing.is_asked() and words and not words[0].startswith("-"):
            # No option stands before the command's name, and for typer to read none takes longer than most commands.
            self.params, self.add_help_option = [], False
        try:
            with env_file():
                code = super().main(args=words, prog_name=PROGRAM, standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
        except CallfareError as error:
            code = _report(error.facts(), words, exits.exit_code_of(error))
        except _UsageError as error:
            code = _report(_usage_facts(error), words, exits.BAD_INPUT)
        except BrokenPipeError:
            code = leave_quietly()
        except SystemExit as ended:
            # typer ends so when a write finds nobody reading.
            if not isinstance(ended.__context__, BrokenPipeError):
                raise
            code = leave_quietly()
        except KeyboardInterrupt:
            code = exits.INTERRUPTED
        except Exception as error:  # noqa: BLE001
            if isinstance(error, OSError) and is_lost_output(error):
                code = leave_unheard(error)
            else:
                # Not an error of the tree: a fault of ours, for which its reader needs every line.
                traceback.print_exc()
                code = exits.OUR_FAULT
        sys.exit(code or exits.OK)


app = typer.Typer(
    cls=Root,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    db: DbOption = None,
    server: ServerOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
    book: BookOption = None,
    no_seed_prices: SeedOption = False,
    markup: MarkupOption = None,
    version: Annotated[bool, typer.Option("--version", help="Say which callfare this is, and exit.")] = False,
) -> None:
    """Meters, prices and charges every AI call, against prepaid credits.

    Options may stand before a command's name or after it. Amounts are credits of one cent; for scripts, --json gives
    exact ones.
    """
    if version:
        typer.echo(f"{PROGRAM} {_version()}")
        raise typer.Exit
    context.obj = every_command(
        db=db,
        server=server,
        key_file=key_file,
        json=json,
        book=book,
        no_seed_prices=no_seed_prices,
        markup=markup,
    )
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


_COMMANDS: tuple[Callable[..., None], ...] = (
    writing.init,
    writing.grant,
    reading.balance,
    reading.usage,
    reading.history,
    reading.calls,
    reading.transactions,
    watching.watch,
    reading.estimate,
    buying.packages,
    buying.checkout,
    buying.portal,
    reading.price,
    prices.prices,
    reading.explain,
    writing.reprice,
    spooled.spool,
    access.keys,
    access.tokens,
    access.audit,
    checking.verify,
    checking.doctor,
    serving.serve,
    selling.stripe,
    assisting.mcp,
    serving.config,
    completing.completion,
    operating.migrate,
    operating.backup,
    operating.restore,
    operating.migrate_store,
    convexing.convex,
    convexing.conformance,
    operating.export,
    importing.import_,
    operating.prune_raw,
)
# What reads or writes the ledger as a whole, or is the server: nothing of it is asked of one.
_LOCAL = frozenset(
    {
        writing.init,
        serving.serve,
        operating.migrate,
        operating.backup,
        operating.restore,
        operating.migrate_store,
        operating.prune_raw,
        convexing.convex,
        convexing.conformance,
    }
)
for _command in _COMMANDS:
    app.command(_command.__name__.strip("_").replace("_", "-"))(with_options(_command, is_local=_command in _LOCAL))


@app.command(
    hidden=True, add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def demo(context: typer.Context) -> None:
    """Show callfare at work, without keys or network."""
    from callfare.devtools.demo import main as perform

    raise typer.Exit(perform(list(context.args)))


def main() -> NoReturn:
    """Run the command line with the arguments of this process."""
    typer.main.get_command(app).main()
    raise AssertionError("the root command exits")


def _version() -> str:
    from importlib.metadata import version

    return version(PROGRAM)


def _usage_facts(error: typer.BadParameter) -> dict[str, object]:
    """Return an error in how a command was written as the facts of an InvalidInput."""
    param = getattr(error, "param", None)
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx is not None else PROGRAM
    return InvalidInput(f"{message}; see `{path} --help`", param=getattr(param, "name", None)).facts()


def _report(facts: dict[str, object], words: Sequence[str], code: int) -> int:
    """Write an error where errors go, as JSON where answers are, and return the exit code."""
    options = words[: words.index("--")] if "--" in words else words
    if "--json" in options:
        complain(lambda screen: screen.document({"error": facts}))
    else:
        complain(lambda screen: screen.line(f"error: {show.clean(str(facts['message']))}"))
    return code
