"""Calls of aiobotocore's client through `fare.wrap`: prints what each was charged by, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

from aiobotocore.session import get_session

from callfare import AsyncCallfare
from callfare.errors import InsufficientCredit

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO = [{"role": "user", "content": [{"text": "hi there"}]}]
BODY = json.dumps({"anthropic_version": "x", "max_tokens": 400, "messages": [{"role": "user", "content": "hi there"}]})


async def call_all(client):
    """Make a call of each kind; return what was read of them."""
    told = await client.converse(modelId=SONNET, messages=HELLO)
    streamed = await client.converse_stream(modelId=SONNET, messages=HELLO)
    events = [event async for event in streamed["stream"]]
    left = await client.converse_stream(modelId=SONNET, messages=HELLO)
    async for event in left["stream"]:
        if "messageStop" in event:
            break
    body = (await client.invoke_model(modelId=SONNET, body=BODY))["body"]
    pieces = [piece async for piece in body.iter_chunks(16)]
    invoked = await client.invoke_model_with_response_stream(modelId=SONNET, body=BODY)
    chunks = [event async for event in invoked["body"]]
    closed = await client.converse_stream(modelId=SONNET, messages=HELLO)
    await anext(aiter(closed["stream"]))
    await closed["stream"].close()
    return {
        "reply": told["usage"]["outputTokens"],
        "events": len(events),
        "body": json.loads(b"".join(pieces))["usage"]["output_tokens"],
        "pieces": len(pieces),
        "chunks": len(chunks),
    }


async def main(address):
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
    async with (
        AsyncCallfare("memory://") as fare,
        get_session().create_client("bedrock-runtime", endpoint_url=address, **keys) as bare,
    ):
        await fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        async with fare.run("story", user="alice") as run:
            seen = await call_all(client)
        refused = ""
        try:
            async with fare.run("story", user="bob", hold=0):
                await client.converse(modelId=SONNET, messages=HELLO)
        except InsufficientCredit as error:
            refused = error.code
        calls = (await fare.calls(run)).items
        counts = [[call.status, call.usage.get("output_tokens", 0), str(call.cost), list(call.flags)] for call in calls]
        print(json.dumps({"seen": seen, "calls": counts, "refused": refused}))


asyncio.run(main(sys.argv[1]))
