"""A stand-in for Ollama's server on the loopback address: its real SDK, no models, no network.

    with FakeOllama() as fake:
        client = ollama.Client(host=fake.base_url)

Speaks chats, completions and embeddings, plain and as lines of JSON, with the counts in the last one, and searches and
pages of the web. Where a model's name ends in "cloud" the reply names a `remote_host`, as one of Ollama's server does
that hands a call on, and so for "my-alias", a name that somebody gave to such a model. How it is told to fail:
stand_in.py.
`python -m callfare.devtools.fake_ollama --port 8087`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from typing_extensions import override

from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import reply_text, text_in, tokens_of
from callfare.devtools.stand_in import AS_COUNTED, StandIn, StandInHandler, serve

CREATED_AT = "2026-09-21T14:13:20.000000Z"
"""The moment every reply claims to be made at."""
ALIAS = "my-alias"
"""The name of a model that is run in the cloud and does not look it."""

_CLOUD = "https://ollama.com:443"
_MESSAGE_TOKENS = 3


class _Handler(StandInHandler):
    """One connection to the stand-in."""

    fake: FakeOllama

    @override
    def error_body(self, status: int, message: str) -> Json:
        return {"error": message}

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        match (self.command, path):
            case ("POST", "/api/chat"):
                self._write(fields, chat(fields))
            case ("POST", "/api/generate"):
                self._write(fields, generate(fields))
            case ("POST", "/api/embed"):
                self.write_json(self._counted(embed(fields)))
            case ("POST", "/api/embeddings"):
                self.write_json({"embedding": [0.25, -0.5]})
            case ("POST", "/v1/systemone"):
                self.write_json(self._counted(scored(fields)))
            case ("POST", "/api/web_search"):
                self.write_json({"results": [{"title": "Boats", "url": "https://example.com/", "content": "boats"}]})
            case ("POST", "/api/web_fetch"):
                self.write_json({"title": "Boats", "content": "boats", "links": []})
            case ("GET", "/api/tags"):
                self.write_json({"models": []})
            case _:
                self.write_error(404, f"Unknown request URL: {self.command} {path}")

    def _write(self, fields: Json, reply: Json) -> None:
        reply = self._counted(reply)
        if fields.get("stream"):
            self.write_lines(parts_of(reply))
        else:
            self.write_json(reply)

    def _counted(self, reply: Json) -> Json:
        """Return a reply with the counts that a fault tells instead of the truth."""
        told = self.fault.usage
        if told is AS_COUNTED:
            return reply
        counts = told if isinstance(told, Mapping) else {}
        return {name: count for name, count in reply.items() if name not in ("prompt_eval_count", "eval_count")} | {
            **counts
        }


def chat(fields: Json) -> Json:
    """Return the reply to a chat: four characters are a token, and each message adds three."""
    messages = fields.get("messages") or []
    if not messages:
        return _whole(fields, {"message": {"role": "assistant", "content": ""}}, done_reason="load")
    said = "".join(text_in(message.get("content")) for message in messages)
    message: Json = {"role": "assistant", "content": reply_text(said)}
    thought = "Let me think." if fields.get("think") else ""
    if thought:
        message["thinking"] = thought
    read = sum(tokens_of(text_in(message.get("content"))) + _MESSAGE_TOKENS for message in messages)
    written = tokens_of(message["content"]) + (tokens_of(thought) if thought else 0)
    return _whole(fields, {"message": message}, read=read, written=written)


def generate(fields: Json) -> Json:
    """Return the reply to a completion, or a picture where its size was asked for."""
    prompt = str(fields.get("prompt") or "")
    if fields.get("width"):
        return _whole(fields, {"response": "", "image": "iVBORw0KGgo="})
    if not prompt:
        return _whole(fields, {"response": ""}, done_reason="load")
    text = reply_text(prompt)
    return _whole(fields, {"response": text}, read=tokens_of(prompt), written=tokens_of(text))


def embed(fields: Json) -> Json:
    """Return the embeddings of one text or of several."""
    given = fields.get("input")
    texts = given if isinstance(given, list) else [str(given)]
    return {
        "model": fields.get("model"),
        "embeddings": [[0.25, -0.5] for _ in texts],
        "total_duration": 14_143_917,
        "prompt_eval_count": sum(tokens_of(text) for text in texts),
    }


def scored(fields: Json) -> Json:
    """Return the answers of a model that scores."""
    answers = {name: {"type": "noul", "noul": 0.75} for name in fields.get("questions") or {}}
    return {"model": fields.get("model"), "answers": answers, "usage": {"input_tokens": 30, "output_tokens": 2}}


def parts_of(reply: Json) -> Iterator[Json]:
    """Yield a reply word by word, and its counts at the end."""
    head = {name: reply[name] for name in ("model", "created_at", "remote_model", "remote_host") if name in reply}
    said = reply.get("message") or {"content": reply.get("response", "")}
    pieces = [("thinking", word) for word in _words(said.get("thinking", ""))]
    pieces += [("content", word) for word in _words(said.get("content", ""))]
    for name, word in pieces:
        if "message" in reply:
            yield head | {"message": {"role": "assistant", "content": "", name: word}, "done": False}
        else:
            yield head | {"response": word, "done": False}
    silent = {"message": {"role": "assistant", "content": ""}} if "message" in reply else {"response": ""}
    yield reply | silent


def _words(text: str) -> list[str]:
    return [f"{word} " for word in text.split()]


def _whole(fields: Json, beside: Json, *, read: int = 0, written: int = 0, done_reason: str = "stop") -> Json:
    """Return a whole reply; a count of nothing is left out, as Ollama leaves it out."""
    model = str(fields.get("model"))
    cloud = {"remote_model": model.removesuffix("-cloud"), "remote_host": _CLOUD}
    counts = {"prompt_eval_count": read, "eval_count": written}
    return {
        "model": model,
        "created_at": CREATED_AT,
        **(cloud if model.endswith("cloud") or model == ALIAS else {}),
        **beside,
        "done": True,
        "done_reason": done_reason,
        "total_duration": 174_560_334,
        "load_duration": 101_397_084,
        **{name: count for name, count in counts.items() if count},
    }


class FakeOllama(StandIn):
    """The stand-in for Ollama's server."""

    handler = _Handler


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    serve(FakeOllama, "Ollama", 8087, arguments)


if __name__ == "__main__":
    main()
