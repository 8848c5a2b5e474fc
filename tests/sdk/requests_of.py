"""Which requests an SDK can send: read out of its own source, where each sending method names its path or procedure.

Nothing is imported, so this is fast, and what a release adds is seen whether or not anybody calls it. A place that
sends and whose path cannot be read is an error, never left out.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_FUNCTION = re.compile(r"^ +(?:async )?def (\w+)\(", re.MULTILINE)
_STAINLESS = re.compile(r"self\._(?:client\.)?(get_api_list|post|get|put|patch|delete)\(\s*")
_STAINLESS_PATH = re.compile(r'(?:\("https://[^\n]+\)\s*\+\s*)?(?:path_template\(\s*)?f?"([^"]+)"')
_WORK = re.compile(r"/work(?=/)")
_STAINLESS_TOLD = re.compile(r"path_template\(batch\.results_url")
_SPEAKEASY = re.compile(r'method="(\w+)",\s*path="([^"]+)"')
_SPEAKEASY_SENDS = re.compile(r"self\._build_request(?:_async)?\(")
_COHERE = re.compile(r"httpx_client\.(?:request|stream)\(\s*")
_COHERE_PATH = re.compile(r'f?"([^"]+)",\s*(?:base_url=[^\n]+\s*)?method="(\w+)"')
_GOOGLE = re.compile(r"_api_client\.(?:async_)?request(?:_streamed)?\(\s*")
_GOOGLE_VERB = re.compile(r"'(\w+)',\s*path")
_GOOGLE_PATH = re.compile(r"path = '([^']+)'(?!\.format_map)")
_GOOGLE_FILES = re.compile(r"_api_client\.(upload_file|download_file)\(")
_OLLAMA = re.compile(r"'(GET|POST|DELETE|HEAD|PUT|PATCH)',\s*f?'((?:https:/)?/[^']+)'")
_OLLAMA_SENDS = re.compile(r"self\._request(?:_raw)?\(")
_PROCEDURE = re.compile(r"^ {16}'/(\S+)',", re.MULTILINE)
_SOCKET = re.compile(r"^ +(?:async )?def connect\(", re.MULTILINE)


def folder_of(package: str) -> Path:
    """Return where an installed package's files are."""
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations, package
    return Path(next(iter(spec.submodule_search_locations)))


def _texts(folder: Path, pattern: str = "*.py") -> Iterator[tuple[str, str]]:
    for file in sorted(folder.rglob(pattern)):
        yield file.relative_to(folder).with_suffix("").as_posix(), file.read_text(encoding="utf-8")


def _unread(where: str, text: str, at: int) -> AssertionError:
    return AssertionError(f"{where} sends a request whose path cannot be read: {text[at : at + 90]!r}")


def stainless(folder: Path, under: str = "resources") -> set[str]:
    """Return the requests of an SDK made by the generator of OpenAI's, or as that makes them: `POST /responses`."""
    rows = set()
    for where, text in _texts(folder / under):
        for sends in _STAINLESS.finditer(text):
            verb = "GET" if sends[1] == "get_api_list" else sends[1].upper()
            path = _STAINLESS_PATH.match(text, sends.end())
            if path is not None:
                # Two of Anthropic's would be taken for places on a machine, which no file may name.
                rows.add(_WORK.sub("/(work)", f"{verb} {path[1]}"))
            elif _STAINLESS_TOLD.match(text, sends.end()):
                rows.add(f"{verb} (the address a message batch tells)")
            else:
                raise _unread(where, text, sends.start())
        if _SOCKET.search(text):
            rows.add(f"SOCKET {where}")
    return rows


def mistral(folder: Path) -> set[str]:
    """Return the requests of Mistral's SDK by its methods: `chat.complete POST /v1/chat/completions`."""
    rows = set()
    for where, text in _texts(folder / "client"):
        for name, body in _functions(text):
            rows |= {f"{where}.{name.removesuffix('_async')} {verb} {path}" for verb, path in _speakeasy(where, body)}
    rows |= {f"SOCKET {where}" for where, text in _texts(folder / "extra") if _is_socket(where, text)}
    return rows


def _is_socket(where: str, text: str) -> bool:
    return _SOCKET.search(text) is not None and not where.startswith("tests/")


def _speakeasy(where: str, body: str) -> list[tuple[str, str]]:
    """Return the verbs and paths that a function of that generator's sends to."""
    found = _SPEAKEASY.findall(body)
    if len(found) < len(_SPEAKEASY_SENDS.findall(body)):
        raise _unread(where, body, 0)
    return found


def cohere(folder: Path) -> set[str]:
    """Return the requests of Cohere's SDK by its methods: `v2.chat POST v2/chat`."""
    rows = set()
    for where, text in _texts(folder, "raw*_client.py"):
        part = where.rpartition("/")[0].replace("/", ".") or "client"
        for name, body in _functions(text):
            for sends in _COHERE.finditer(body):
                path = _COHERE_PATH.match(body, sends.end())
                if path is None:
                    raise _unread(where, body, sends.start())
                rows.add(f"{part}.{name} {path[2]} {path[1]}")
    return rows


def google(folder: Path) -> set[str]:
    """Return the requests of Google's SDK: `POST {model}:generateContent`, and those of its second way of sending."""
    rows = set()
    for file in sorted(folder.glob("*.py")):
        if file.stem.endswith("_api_client"):
            continue
        text = file.read_text(encoding="utf-8")
        for name, body in _functions(text):
            for sends in _GOOGLE.finditer(body):
                verb = _GOOGLE_VERB.match(body, sends.end())
                paths = _GOOGLE_PATH.findall(body)
                if verb is None or not paths:
                    raise _unread(file.stem, body, sends.start())
                rows |= {f"{verb[1].upper()} {path}" for path in paths}
            rows |= {f"{kind} {file.stem}.{name}" for kind in _GOOGLE_FILES.findall(body)}
            if name == "connect":
                rows.add(f"SOCKET {file.stem}")
    for where, text in _texts(folder / "_gaos"):
        rows |= {f"{verb} {path}" for verb, path in _speakeasy(where, text)}
    return rows


def ollama(folder: Path) -> set[str]:
    """Return the requests of Ollama's SDK."""
    rows = set()
    for name, body in _functions((folder / "_client.py").read_text(encoding="utf-8")):
        if name in ("_request", "_request_raw", "inner", "__init__"):
            continue
        told = _OLLAMA.findall(body)
        if len(told) < len(_OLLAMA_SENDS.findall(body)):
            raise _unread("_client", body, 0)
        rows |= {f"{verb} {path}" for verb, path in told}
    return rows


def huggingface(folder: Path) -> set[str]:
    """Return the methods of Hugging Face's inference client; those that pass its own function stand with its name."""
    text = (folder / "inference" / "_client.py").read_text(encoding="utf-8")
    return {
        f"{name} _inner_post" if "_inner_post(" in body else name
        for name, body in _functions(text)
        if not name.startswith("_")
    }


def bedrock(folder: Path) -> set[str]:
    """Return the operations of Amazon Bedrock's runtime, as the SDK's own description has them."""
    [described] = (folder / "data" / "bedrock-runtime").glob("*/service-2.json.gz")
    return set(json.loads(gzip.decompress(described.read_bytes()))["operations"])


def xai(folder: Path) -> set[str]:
    """Return the procedures of xAI's SDK: `xai_api.Chat/GetCompletion`."""
    rows: set[str] = set()
    for _, text in _texts(folder / "proto", "*_pb2_grpc.py"):
        rows |= set(_PROCEDURE.findall(text))
    return rows


def _functions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the functions of a source by name, each with what stands up to the next."""
    found = list(_FUNCTION.finditer(text))
    for function, following in zip(found, [*found[1:], None], strict=False):
        yield function[1], text[function.start() : following.start() if following else len(text)]


@dataclass(frozen=True)
class Table:
    """What is known of the requests of an SDK: each row with its kind, and the reason of that kind."""

    kinds: dict[str, str]
    reasons: dict[str, str]

    def of(self, *kinds: str) -> set[str]:
        """Return the rows of these kinds."""
        return {row for row, kind in self.kinds.items() if kind in kinds}


KINDS = ("metered", "heard", "free", "unmetered")


def table_in(text: str) -> Table:
    """Return the table that a text is: lines `kind: reason`, and under each the requests, set in."""
    kinds: dict[str, str] = {}
    reasons: dict[str, str] = {}
    kind = reason = ""
    for line in text.splitlines():
        row = line.strip()
        if not row or row.startswith("#"):
            continue
        if line[0] != " ":
            kind, _, reason = (part.strip() for part in row.partition(":"))
            assert kind in KINDS, f"there is no kind {kind}"
            assert reason, f"{kind} has no reason"
            continue
        assert row not in kinds, f"{row} stands twice"
        kinds[row], reasons[row] = kind, reason
    return Table(kinds, reasons)
