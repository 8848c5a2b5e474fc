"""Asks a server by the MCP client of openai-agents, in its own environment; prints what it got as JSON.

Started by tests/mcp/test_foreign.py with the server's settings, as a host has them, on standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys

from agents.mcp import MCPServerStdio, MCPServerStreamableHttp


async def main() -> None:
    settings = json.load(sys.stdin)
    kind = MCPServerStreamableHttp if "url" in settings else MCPServerStdio
    async with kind(params={name: value for name, value in settings.items() if name != "type"}) as server:
        tools = [tool.name for tool in await server.list_tools()]
        answers = {}
        for name, arguments in json.loads(sys.argv[1]).items():
            found = (await server.call_tool(name, arguments)).model_dump(by_alias=True)
            answers[name] = [found["content"][0]["text"], found["structuredContent"], found["isError"]]
    print(json.dumps({"tools": tools, "answers": answers}))


asyncio.run(main())
