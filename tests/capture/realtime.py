"""Realtime sessions against the stand-in: what is said in them, in the words of both kinds of client."""

from __future__ import annotations

import base64
import inspect

HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi there"}]}
SECOND_OF_SOUND = base64.b64encode(b"\1" * 48_000).decode()
SILENCE = base64.b64encode(b"\0" * 100).decode()

# "hi there" is two tokens; the reply to it is 57 of text and 42 of sound.
FIRST = {
    "input_tokens": 2,
    "cached_input_tokens": 0,
    "input_audio_tokens": 0,
    "cached_input_audio_tokens": 0,
    "input_image_tokens": 0,
    "cached_input_image_tokens": 0,
    "output_tokens": 99,
    "output_audio_tokens": 42,
}


async def said(value):
    """Return a value, awaited where it must be."""
    return await value if inspect.isawaitable(value) else value


async def entered(manager):
    """Return the connection of a manager of either kind."""
    return await said(manager.enter())


async def ask(connection, **response):
    """Say "hi there", and ask for a response."""
    await said(connection.conversation.item.create(item=HELLO))
    await said(connection.response.create(**({"response": response} if response else {})))


async def hear(connection, kind="response.done"):
    """Read on to an event of this kind, and return it."""
    while True:
        event = await said(connection.recv())
        if event.type == kind:
            return event


def counted(usage):
    """Return the quantities that are not zero."""
    return {name: quantity for name, quantity in usage.items() if quantity}


def connect(either, **asked):
    """Return the manager of a session with a client of either kind."""
    return either.client.realtime.connect(**({"model": "gpt-realtime"} | asked))


def settled(meter):
    """What was settled, in order: the model, the quantities that are not zero, and whether it is an estimate."""
    return [
        (reading.model, counted(reading.usage), estimated)
        for ticket in meter.tickets
        for reading, estimated in ticket.settled
    ]


SPOKEN = ("gpt-realtime", counted(FIRST), False)
