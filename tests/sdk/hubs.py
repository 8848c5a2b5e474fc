"""Clients of Hugging Face's SDK, sync and async, in the same words."""

from __future__ import annotations

import asyncio
import gc

from huggingface_hub import AsyncInferenceClient, InferenceClient

from callfare.capture.clients import wrap_client
from callfare.devtools.fake_huggingface import LLAMA
from tests.sdk.reading import Reading

HELLO = [{"role": "user", "content": "hi there"}]
# Eight characters are two tokens, and a message has three more; the reply's 226 characters are 57.
USAGE = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 57}
TOKEN = "hf_none"


class EitherHub(Reading):
    """One kind of client, called in the same words as the other."""

    def __init__(self, meter, *, is_async):
        self.meter, self.is_async, self.made = meter, is_async, []

    def client(self, *rest, **options):
        made = (AsyncInferenceClient if self.is_async else InferenceClient)(*rest, **{"api_key": TOKEN} | options)
        self.made.append(made)
        return wrap_client(made, self.meter, user=None)

    async def do(self, client, method, *rest, **fields):
        reply = getattr(client, method)(*rest, **fields)
        return await reply if self.is_async else reply

    async def ask(self, client=None, **fields):
        client = client or self.client(provider="together")
        return await self.do(client, "chat_completion", **{"messages": HELLO, "model": LLAMA} | fields)

    async def settled(self):
        """Wait until every call is settled: whoever goes on in an event loop does not wait for a stream's end."""
        gc.collect()
        for ticket in self.meter.tickets:
            assert await asyncio.to_thread(ticket.ended.wait, 60)

    async def close(self):
        for made in self.made:
            if self.is_async:
                await made.close()
            else:
                made.close()
