"""Finds the line of a table or key in TOML text, since the standard parser tells none. For error messages only.

Refuses nothing: text that parses is assumed, and what cannot be found is placed at the nearest table above it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

Path = tuple[str | int, ...]
"""Keys and array positions from the top of the document, such as ("model", 0, "rate", 2, "usd")."""

_TOKEN = re.compile(
    r"""(?P<long>\"\"\"(?:[^\\]|\\.)*?\"{3,5}|'''.*?'{3,5})"""
    r"""|(?P<string>"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
    r"""|(?P<comment>\#[^\n]*)"""
    r"""|(?P<open>[\[{])|(?P<close>[\]}])|(?P<newline>\n)""",
    re.DOTALL,
)
_KEY_PART = re.compile(r"""\s*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)\s*""")
_HEADER = re.compile(r"\s*(\[\[?)")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the line, from 1, on which the last part of the path that can be found stands."""
    lines = _lines(text)
    wanted = tuple(path)
    while wanted and wanted not in lines:
        wanted = wanted[:-1]
    return lines.get(wanted, 1)


@lru_cache(maxsize=2)
def _lines(text: str) -> Mapping[Path, int]:
    """Return where each table and each key at the start of a line stands. Whoever asks for many asks of one text."""
    found: dict[Path, int] = {}
    arrays: dict[Path, int] = {}
    table: Path = ()
    for number, line in _statements(text):
        header = _HEADER.match(line)
        if header is None:
            path = table + _keys(line, 0)
        else:
            table = path = _table(_keys(line, header.end()), arrays, is_array=header[1] == "[[")
        for depth in range(1, len(path) + 1):
            found.setdefault(path[:depth], number)
    return found


def _statements(text: str) -> list[tuple[int, str]]:
    """Return the lines that begin a header or a key, numbered: none inside a long string or an open bracket."""
    statements: list[tuple[int, str]] = []
    lines = text.split("\n")
    number, depth, is_start = 1, 0, True
    for token in _TOKEN.finditer(text + "\n"):
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif token["long"]:
            if is_start:
                statements.append((number, lines[number - 1]))
            number += token["long"].count("\n")
            is_start = False
        elif token["newline"]:
            if is_start and lines[number - 1].strip(" \t\r") and not lines[number - 1].lstrip().startswith("#"):
                statements.append((number, lines[number - 1]))
            number += 1
            is_start = depth == 0
    return statements


def _table(keys: Path, arrays: dict[Path, int], *, is_array: bool) -> Path:
    """Return the path of a table header, each array in it at its last position, one further for a new element."""
    path: Path = ()
    for index, key in enumerate(keys):
        path = (*path, key)
        if is_array and index == len(keys) - 1:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path = (*path, arrays[path])
    return path


def _keys(line: str, start: int) -> Path:
    """Return the dotted key that begins at a place in a line, without quotes."""
    keys: list[str] = []
    while part := _KEY_PART.match(line, start):
        keys.append(part[1].strip("\"'"))
        start = part.end()
        if not line.startswith(".", start):
            break
        start += 1
    return tuple(keys)
