"""The specification's five workflows, written as an app would write them: OpenAI's own SDK, and nothing of callfare's.

Each takes a client and does its work. Who pays, what it costs and whether it may begin is decided around it, where the
run is opened. What the models answer is not worth reading: the stand-in's replies are the same few words, shuffled.
"""

from __future__ import annotations

import asyncio
import wave
from io import BytesIO

from openai import AsyncOpenAI, OpenAI

TEXT = "gpt-5-mini"
SPEECH = "gpt-4o-mini-tts"
TRANSCRIPT = "whisper-1"
IMAGE = "gpt-image-1"
VIDEO = "sora-2"

_EDITOR = "You write for the lighthouse museum of a small town. Plain words, no exclamation marks, nothing invented."
_OPEN_NIGHT = (
    "On Saturday the lamp of the old lighthouse is lit for the first time in forty years. Doors open at dusk, the "
    "stairs have 212 steps, tea is free, and whoever climbs to the top may ring the fog bell once."
)
_RECORDING_MS = 93_500
_RECORDING_HZ = 1_000


# For the sync client, each in a thread of its own


def tweet(client: OpenAI) -> None:
    """Write a tweet as it streams in, have it checked, and draw two pictures to choose from."""
    request = f"Announce this in one tweet: {_OPEN_NIGHT}"
    draft = ""
    for chunk in client.chat.completions.create(
        model=TEXT,
        messages=[{"role": "system", "content": _EDITOR}, {"role": "user", "content": request}],
        stream=True,
    ):
        draft += chunk.choices[0].delta.content or ""
    client.chat.completions.create(
        model=TEXT,
        messages=[
            {"role": "user", "content": f"Does this tweet say anything the facts do not? {draft}\n{_OPEN_NIGHT}"}
        ],
    )
    client.images.generate(
        model=IMAGE, prompt="A lighthouse at dusk, its lamp just lit, people below looking up", size="1024x1536", n=2
    )


def thread(client: OpenAI) -> None:
    """Outline a thread, write it as it streams in, and draw a picture for each of its five posts."""
    outline = client.responses.create(
        model=TEXT, instructions=_EDITOR, input=f"Outline a thread of five posts on this: {_OPEN_NIGHT}"
    )
    posts = ""
    for event in client.responses.create(
        model=TEXT, instructions=_EDITOR, input=f"Write the five posts: {outline.output_text}", stream=True
    ):
        if event.type == "response.output_text.delta":
            posts += event.delta
    client.images.generate(model=IMAGE, prompt=f"Three tall pictures for: {posts}", size="1024x1536", n=3)
    client.images.generate(model=IMAGE, prompt=f"Two square ones for: {posts}", size="1024x1024", n=2)


# For the async client, in one event loop


async def carousel(client: AsyncOpenAI) -> None:
    """Write eight captions and draw eight slides, four calls of two at once."""
    reply = await client.chat.completions.create(
        model=TEXT,
        messages=[
            {"role": "system", "content": _EDITOR},
            {"role": "user", "content": f"Eight short captions, one for each slide of a carousel on: {_OPEN_NIGHT}"},
        ],
    )
    captions = reply.choices[0].message.content
    await asyncio.gather(
        *(
            client.images.generate(model=IMAGE, prompt=f"Two slides in one style: {captions}", size="1024x1536", n=2)
            for _ in range(4)
        )
    )


async def story(client: AsyncOpenAI) -> None:
    """Write a story as it streams in, draw four scenes in four versions each, and have it read aloud."""
    script = ""
    async for event in await client.responses.create(
        model=TEXT, instructions=_EDITOR, input=f"A bedtime story of four scenes about this: {_OPEN_NIGHT}", stream=True
    ):
        if event.type == "response.output_text.delta":
            script += event.delta
    await asyncio.gather(
        *(
            client.images.generate(model=IMAGE, prompt=f"One scene, four versions: {script}", size="1024x1536", n=4)
            for _ in range(4)
        )
    )
    await client.audio.speech.create(model=SPEECH, voice="sage", input=script)


async def video(client: AsyncOpenAI) -> None:
    """Write a script, speak it, subtitle the keeper's own words, film five clips at once, and draw a cover."""
    script = await client.responses.create(
        model=TEXT, instructions=_EDITOR, input=f"The script of a film of one minute about this: {_OPEN_NIGHT}"
    )
    await client.audio.speech.create(model=SPEECH, voice="sage", input=script.output_text)
    await client.audio.transcriptions.create(model=TRANSCRIPT, file=("keeper.wav", recording()))
    await asyncio.gather(
        *(
            client.videos.create_and_poll(model=VIDEO, prompt=script.output_text, seconds="12", size="1280x720")
            for _ in range(5)
        )
    )
    await client.images.generate(model=IMAGE, prompt="The cover of the film", size="1536x1024")


def recording() -> bytes:
    """Return a WAV of 93.5 seconds, all of them silent: what the keeper said is not needed to be billed for."""
    sound = BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(_RECORDING_HZ)
        file.writeframes(b"\x80" * (_RECORDING_MS * _RECORDING_HZ // 1000))
    return sound.getvalue()
