"""The command for AI assistants: the tools that read the ledger, over standard input and output."""

from __future__ import annotations

from typing import Annotated

import typer

from callfare.cli.session import Session
from callfare.errors import InvalidInput, Misconfigured

UserOption = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="The only user whom the assistant may ask about.")
]
AdminOption = Annotated[bool, typer.Option("--admin", help="It may ask about every user.")]


def mcp(
    session: Session,
    *,
    user: UserOption = None,
    admin: AdminOption = False,
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
    with session.engine() as engine:
        stdio.serve(EngineReader(engine), principal)
