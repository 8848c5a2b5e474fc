"""Batches as the stand-in for Mistral makes them: jobs over files of requests, or over requests of their own. No state.

Every request is answered as it would be by itself. One whose body asks to `fail` is refused, in the file of errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from callfare.devtools import mistral_replies as mistral
from callfare.devtools import openai_batches
from callfare.devtools import openai_replies as replies
from callfare.devtools.forms import Json

Tell = Callable[[Json], Json]

_ENDPOINT_IN_CHAT = ("/v1/chat/completions", "/v1/fim/completions")


def file(file_id: str, content: bytes, purpose: str) -> Json:
    """Return what is told of a file that was uploaded."""
    told = openai_batches.file(file_id, content, purpose)
    del told["status"]
    return told | {"sample_type": "batch_request", "source": "upload"}


def requests_in(fields: Json, files: Iterable[bytes]) -> list[Json]:
    """Return the requests of a job: those of its files, or its own."""
    lines = [json.loads(line) for content in files for line in content.splitlines() if line.strip()]
    return lines + (fields.get("requests") or [])


def results_of(fields: Json, requests: Iterable[Json], job_id: str, tell: Tell) -> tuple[list[Json], list[Json]]:
    """Return the lines that were answered and those that were not. tell: words a chat as the stand-in does."""
    answered: list[Json] = []
    failed: list[Json] = []
    for number, request in enumerate(requests):
        body = request["body"] | ({"model": fields["model"]} if fields.get("model") else {})
        line: Json = {"id": f"batch-{job_id}-{number}", "custom_id": request.get("custom_id") or str(number)}
        if body.get("fail"):
            told = {"message": "The stand-in was told to fail.", "type": "invalid_request_error"}
            failed.append(line | {"response": {"status_code": 400, "body": told}, "error": told})
        else:
            reply = _reply(str(fields.get("endpoint")), body, f"{job_id}-{number}", tell)
            answered.append(line | {"response": {"status_code": 200, "body": reply}, "error": None})
    return answered, failed


def file_of(lines: Iterable[Json]) -> bytes:
    """Return lines as a file of them."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def job(fields: Json, job_id: str, answered: list[Json], failed: list[Json]) -> Json:
    """Return a job that has ended, with the names of the files of its results."""
    return {
        "id": job_id,
        "object": "batch",
        "input_files": fields.get("input_files") or [],
        "endpoint": fields.get("endpoint"),
        "model": fields.get("model"),
        "metadata": fields.get("metadata"),
        "errors": [],
        "status": "SUCCESS",
        "created_at": replies.CREATED,
        "started_at": replies.CREATED + 1,
        "completed_at": replies.CREATED + 60,
        "total_requests": len(answered) + len(failed),
        "completed_requests": len(answered) + len(failed),
        "succeeded_requests": len(answered),
        "failed_requests": len(failed),
        "output_file": f"{job_id}-output" if answered else None,
        "error_file": f"{job_id}-errors" if failed else None,
    }


def unfinished(told: Json, status: str) -> Json:
    """Return a job as it stands before its end, or as it ended without results."""
    counts = dict.fromkeys(("completed_requests", "succeeded_requests", "failed_requests"), 0)
    return told | counts | {"status": status, "output_file": None, "error_file": None, "completed_at": None}


def _reply(endpoint: str, body: Json, reply_id: str, tell: Tell) -> Json:
    match endpoint:
        case "/v1/embeddings":
            return replies.embeddings(body) | {"id": f"embd-{reply_id}"}
        case "/v1/ocr":
            return mistral.document(body)
        case "/v1/audio/transcriptions":
            return mistral.transcript(body, b"")
        case "/v1/conversations":
            model = str(body.get("model") or "mistral-medium-latest")
            return mistral.conversation(body, f"conv-{reply_id}", model, f"turn-{reply_id}")
        case _ if endpoint in _ENDPOINT_IN_CHAT:
            return tell(replies.chat_completion(body, f"chatcmpl-{reply_id}"))
        case _:
            return mistral.classes(body, f"mod-{reply_id}", is_moderation=endpoint.endswith("moderations"))
