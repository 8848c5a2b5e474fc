"""Batches as the stand-in for OpenAI makes them: a file of requests in, a file of replies out. No sockets, no state.

Every request of the file is answered as it would be by itself. One whose body asks to `fail` is refused.
"""

from __future__ import annotations

import json

from callfare.devtools import openai_replies as replies
from callfare.devtools.forms import Json


def file(file_id: str, content: bytes, purpose: str) -> Json:
    """Return what is told of a file that was uploaded."""
    return {
        "id": file_id,
        "object": "file",
        "bytes": len(content),
        "created_at": replies.CREATED,
        "filename": "requests.jsonl",
        "purpose": purpose,
        "status": "processed",
    }


def batch(fields: Json, batch_id: str, output_file_id: str, results: bytes) -> Json:
    """Return a batch that has completed."""
    lines = [json.loads(line) for line in results.splitlines()]
    failed = sum(line["response"]["status_code"] != 200 for line in lines)  # noqa: PLR2004 - HTTP's
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": fields.get("endpoint"),
        "input_file_id": fields.get("input_file_id"),
        "completion_window": "24h",
        "status": "completed",
        "created_at": replies.CREATED,
        "completed_at": replies.CREATED + 60,
        "output_file_id": output_file_id,
        "request_counts": {"total": len(lines), "completed": len(lines) - failed, "failed": failed},
        "metadata": fields.get("metadata"),
    }


def unfinished(told: Json, status: str) -> Json:
    """Return a batch as it stands before its end."""
    return told | {"status": status, "output_file_id": None, "completed_at": None}


def results_of(requests: bytes, batch_id: str, endpoint: str) -> bytes:
    """Return the file of results: a line for each line of requests. endpoint: theirs, where they name none."""
    lines = [json.loads(line) for line in requests.splitlines() if line.strip()]
    answered = [_result(line, endpoint, f"{batch_id}_req_{number}") for number, line in enumerate(lines, 1)]
    return b"".join(json.dumps(result).encode() + b"\n" for result in answered)


def _result(line: Json, endpoint: str, line_id: str) -> Json:
    status, body = 200, _reply(str(line.get("url") or endpoint), line["body"], line_id)
    if line["body"].get("fail"):
        status, body = 400, {"error": {"message": "The stand-in was told to fail.", "type": "invalid_request_error"}}
    response = {"status_code": status, "request_id": f"req_{line_id}", "body": body}
    return {"id": line_id, "custom_id": line["custom_id"], "response": response, "error": None}


def _reply(url: str, fields: Json, reply_id: str) -> Json:
    match url:
        case "/v1/audio/transcriptions":
            return {"text": "eight by eight", "x_groq": {"id": reply_id}}
        case "/v1/chat/completions":
            return replies.chat_completion(fields, f"chatcmpl_{reply_id}")
        case "/v1/responses":
            return replies.response(fields, f"resp_{reply_id}")
        case "/v1/embeddings":
            return replies.embeddings(fields)
        case "/v1/images/generations":
            return replies.images(fields)
        case _:
            return {"id": f"modr_{reply_id}", "model": fields.get("model"), "results": []}
