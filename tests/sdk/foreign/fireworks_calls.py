"""Calls of Fireworks' own SDK through `fare.wrap`, of both its clients: prints what each was charged by, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

from fireworks import AsyncFireworks, Fireworks

from callfare import Callfare

MODEL = "accounts/fireworks/models/gpt-oss-120b"
HELLO = [{"role": "user", "content": "hi there"}]


async def main(address):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run:
            with Fireworks(base_url=address, api_key="none") as bare:
                client = fare.wrap(bare)
                client.chat.completions.create(model=MODEL, messages=HELLO)
                list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
            async with AsyncFireworks(base_url=address, api_key="none") as bare:
                client = fare.wrap(bare)
                await client.chat.completions.create(model=MODEL, messages=HELLO)
                [
                    chunk
                    async for chunk in await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
                ]
        calls = fare.calls(run).items
        print(json.dumps([[call.provider, call.status, str(call.cost), list(call.flags)] for call in calls]))


asyncio.run(main(sys.argv[1]))
