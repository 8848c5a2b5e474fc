"""Has an agent of pydantic-ai, under its test model, call the tools of a server; prints what it got as JSON.

Started by tests/mcp/test_foreign.py with the server's settings, as a host has them, on standard input. The test model
makes arguments up by the schemas, and calls every tool once.
"""

from __future__ import annotations

import asyncio
import json
import sys

from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.test import TestModel


async def main() -> None:
    settings = json.load(sys.stdin)
    if "url" in settings:
        transport = StreamableHttpTransport(settings["url"], headers=settings["headers"])
    else:
        transport = StdioTransport(settings["command"], settings["args"])
    agent = Agent(TestModel(call_tools=json.loads(sys.argv[1])), toolsets=[MCPToolset(transport)])
    async with agent:
        messages = (await agent.run("How much is left?")).all_messages()
    parts = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    print(json.dumps({part.tool_name: part.content for part in parts}))


asyncio.run(main())
