"""What a request to OpenAI fixes before it is sent: its kind, and the most it can use. Reads no more than headers.

Requests are told apart by their path, as the SDK hands them to its HTTP client, so that every way to make a call is the
same one. Refuses to guess: what the provider will decide, such as a size left at "auto", is left out.
"""

from __future__ import annotations

import os
import re
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote

from msgspec.structs import replace

from callfare.capture.base import Intent
from callfare.capture.dialect import (
    Dialect,
    JobAsked,
    Request,
    bare_path,
    bytes_for_model,
    fields_of,
    plausible_attributes,
    plausible_usage,
    tokens_of_bytes,
    whole,
)

_OPERATIONS = {
    "/chat/completions": "chat",
    "/completions": "chat",
    "/responses": "responses",
    "/responses/compact": "responses",
    "/decisions": "chat",
    "/embeddings": "embedding",
    "/contextualizedembeddings": "embedding",
    "/rerank": "rerank",
    "/audio/speech": "speech",
    "/audio/transcriptions": "transcription",
    "/audio/translations": "transcription",
    "/images/generations": "image",
    "/images/edits": "image",
    "/images/variations": "image",
    "/videos": "video",
    "/videos/edits": "video",
    "/videos/extensions": "video",
}
_REMIX = re.compile(r"/videos/[^/]+/remix")
_JOB = re.compile(r"/(videos|responses)/([^/]+)(/cancel)?")
_NOT_IDS = {"characters", "edits", "extensions", "input_tokens", "compact"}
_DEFAULT_VIDEO: Mapping[str, object] = {"model": "sora-2", "seconds": "4", "size": "720x1280"}
_SELECTING = {"image": ("size", "quality"), "video": ("size",)}
_SPOKEN_TO = ("messages", "input", "instructions", "prompt", "tools", "functions")
# Of decisions and reranking.
_SPOKEN_TO_BESIDE = ("questions", "state", "query", "documents")
_RIFF_BYTES = 12


def operation_of(path: str) -> str | None:
    """Return which kind of call a POST to this path is, or None when it is not metered."""
    operation = _OPERATIONS.get(path)
    if operation is not None:
        return operation
    bare = bare_path(path)
    return _OPERATIONS.get(bare) or ("video" if _REMIX.fullmatch(bare) else None)


def job_of(path: str) -> JobAsked | None:
    """Return which video or response is asked about, or None when it is another request.

    The SDK quotes an id to put it into a path; what is returned is the id as the provider gave it.
    """
    found = _JOB.fullmatch(bare_path(path))
    if found is None or found[2] in _NOT_IDS:
        return None
    return JobAsked("video" if found[1] == "videos" else "responses", unquote(found[2]))


def request_of(
    path: str,
    *,
    dialect: Dialect,
    provider: str,
    operation: str,
    base_url: str,
    body: object,
    options: Mapping[str, Any],
    files: object = None,
    is_stream: bool = False,
) -> Request:
    """Return a request with what it fixes, changed to ask for the usage of its stream where that must be asked for.

    body, options, files: as the SDK gives them to its HTTP client. What cannot be read is left out, never refused: the
    provider will say what is wrong with it.
    """
    fields = fields_of(body, options)
    bare = bare_path(path)
    kept = {**_DEFAULT_VIDEO, **fields} if bare == "/videos" else fields
    intent = Intent(
        provider=provider,
        base_url=base_url.rstrip("/"),
        operation=operation,
        model=str(kept.get("model") or ""),
        usage=plausible_usage(_fixed_by(operation, kept, files)),
        attributes=_attributes_of(operation, kept),
    )
    request = Request(
        intent=intent,
        dialect=dialect,
        body=body,
        options=options,
        choices=whole(fields.get("n")) or 1,
        is_stream=is_stream,
        is_evented=is_stream or (operation == "speech" and fields.get("stream_format") == "sse"),
        keeps_quantity=bare == "/videos/extensions",
    )
    return _asking_for_usage(request, fields) if operation == "chat" and is_stream else request


def _fixed_by(operation: str, fields: Mapping[str, object], files: object) -> dict[str, object]:
    """Return the quantities a request fixes, or bounds, unchecked."""
    match operation:
        case "speech":
            text = fields.get("input")
            return {"characters": len(text)} if isinstance(text, str) else {}
        case "image":
            return {"images": 1 if fields.get("n") is None else fields["n"]}
        case "video":
            return {} if fields.get("seconds") is None else {"video_seconds": fields["seconds"]}
        case "transcription":
            seconds = wav_seconds(uploads_in(files))
            return {} if seconds is None else {"audio_seconds": seconds}
        case _:
            return _token_bounds(fields)


def _token_bounds(fields: Mapping[str, object]) -> dict[str, object]:
    spoken_to = _SPOKEN_TO if "messages" in fields else (*_SPOKEN_TO, *_SPOKEN_TO_BESIDE)
    count = sum([bytes_for_model(fields[name]) for name in spoken_to if name in fields])
    ids = sum([_token_ids_in(fields[name]) for name in ("input", "prompt") if name in fields])
    bounds: dict[str, object] = {"input_tokens": tokens_of_bytes(count) + ids}
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        most = whole(fields.get(name))
        if most is not None:
            bounds["output_tokens"] = most * (whole(fields.get("n")) or 1)
            break
    return bounds


def _token_ids_in(value: object) -> int:
    """Return how many tokens are given by their ids: in one list, or in a list for each input."""
    if not isinstance(value, list | tuple):
        return 0
    inputs = (value, *(part for part in value if isinstance(part, list | tuple)))
    return sum(type(token) is int for ids in inputs for token in ids)


def _attributes_of(operation: str, fields: Mapping[str, object]) -> dict[str, str]:
    names = _SELECTING.get(operation, ("service_tier",))
    asked = {name: fields[name] for name in names if name in fields}
    return plausible_attributes(asked) if asked else {}


def _asking_for_usage(request: Request, fields: Mapping[str, object]) -> Request:
    """Return a streamed chat request that asks for its usage, wherever the caller put the stream's options."""
    asked = fields.get("stream_options")
    told = asked if isinstance(asked, Mapping) else {}
    if told.get("include_usage"):
        return request
    wanted = {**told, "include_usage": True}
    extra = request.options.get("extra_json")
    if isinstance(extra, Mapping) and "stream_options" in extra:
        options = {**request.options, "extra_json": {**extra, "stream_options": wanted}}
        return replace(request, options=options, plain=request)
    if not isinstance(request.body, Mapping):
        return request
    return replace(request, body={**request.body, "stream_options": wanted}, plain=request)


# Uploads


def wav_seconds(uploads: Iterable[object]) -> Fraction | None:
    """Return how long the first upload lasts if it is a WAV, or None. An open file is left where it stood."""
    for upload in uploads:
        try:
            return _measured(upload)
        except (wave.Error, EOFError, OSError, ValueError, ZeroDivisionError):
            return None
    return None


def _measured(upload: object) -> Fraction | None:
    if isinstance(upload, bytes | bytearray):
        return _seconds_in(BytesIO(upload)) if upload[:4] == b"RIFF" else None
    if isinstance(upload, os.PathLike):
        with Path(upload).open("rb") as file:
            return _seconds_in(file)
    sound = cast("IO[bytes]", upload)
    if not hasattr(upload, "seekable") or not sound.seekable():
        return None
    place = sound.tell()
    try:
        return _seconds_in(sound)
    finally:
        sound.seek(place)


def _seconds_in(sound: IO[bytes]) -> Fraction | None:
    """Return the length a WAV's header tells, unless there are not as many bytes as it claims."""
    begin = sound.tell()
    head = sound.read(_RIFF_BYTES)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    size = sound.seek(0, os.SEEK_END) - begin
    sound.seek(begin)
    with wave.open(sound, "rb") as header:
        frames = header.getnframes()
        if frames * header.getnchannels() * header.getsampwidth() > size:
            return None
        return Fraction(frames, header.getframerate())


def uploads_in(files: object) -> Iterator[object]:
    """Yield the contents of the uploaded files, in any of the forms the SDK takes."""
    pairs = files.items() if isinstance(files, Mapping) else files
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | bytes):
        return
    for pair in pairs:
        if isinstance(pair, Sequence) and len(pair) == 2 and pair[0] == "file":  # noqa: PLR2004 - a name and a file
            yield pair[1][1] if isinstance(pair[1], tuple) and len(pair[1]) > 1 else pair[1]
