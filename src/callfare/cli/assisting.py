"""The command for AI assistants: the tools that read the ledger, over standard input and output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from callfare.cli.session import Session
from callfare.errors import InvalidInput, Misconfigured

UserOption = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="The only user whom the assistant may ask about.")
]
ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="A server to ask, in place of a ledger on this machine.")
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="With --server: where its key is; CALLFARE_API_KEY otherwise."),
]
AdminOption = Annotated[bool, typer.Option("--admin", help="It may ask about every user.")]


def mcp(
    session: Session,
    *,
    user: UserOption = None,
    admin: AdminOption = False,
    server: ServerOption = None,
    key_file: KeyFileOption = None,
) -> None:
    """Answer an AI assistant over standard input and output, by the Model Context Protocol.

    A host starts it, with the user whom it speaks for. Its tools only read.
    """
    if (user is None) is not admin:
        raise InvalidInput("say whom the assistant may ask about: --user USER, or --admin for everybody", param="user")
    try:
        from callfare.mcp import stdio
        from callfare.mcp.reader import EngineReader
    except ModuleNotFoundError as error:
        raise Misconfigured(f"MCP needs more packages: pip install 'callfare[server]' ({error.name})") from None
    principal = stdio.principal_of(user)
    if server is not None:
        session.options = replace(session.options, db=_server(session, server))
    with session.engine(api_key=None if key_file is None else _key_in(key_file)) as engine:
        stdio.serve(EngineReader(engine), principal)


def _server(session: Session, url: str) -> str:
    """Return the address of a server.

    Raises InvalidInput.
    """
    if session.options.db is not None:
        raise InvalidInput("--server and --db name two ledgers; give one of them", param="server")
    if url.partition(":")[0].lower() not in {"http", "https"}:
        raise InvalidInput("--server takes an address such as https://billing.example.com", param="server")
    return url


def _key_in(file: Path) -> str:
    """Return the key that stands in a file.

    Raises InvalidInput when it cannot be read.
    """
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in ASCII"
        raise InvalidInput(f"the key in {file} cannot be read: {reason}", param="key_file") from None
