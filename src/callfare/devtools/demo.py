"""`callfare demo`: the main job, end to end, on this machine alone. Needs no key, no network and no server.

A fresh ledger in a new folder, a stand-in for OpenAI, the real SDK. Exit codes are the command line's: 0 when all was
as it should be, 1 when anything was not, 2 for a ledger it cannot use, 7 without the SDK, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import threading
import warnings
from importlib.util import find_spec
from pathlib import Path

from callfare.callfare import Callfare
from callfare.cli import exits
from callfare.devtools.demo_events import Ready, Show
from callfare.devtools.demo_shop import open_shop
from callfare.devtools.demo_show import shower
from callfare.devtools.fake_openai import FakeOpenAI, Fault, Seen
from callfare.errors import CallfareError, InvalidInput
from callfare.store.open import without_password

WITHOUT_SDK = "callfare demo: the openai package is missing; run: pip install 'callfare[demo]'"
_DELAY_MS = 70


class PacedOpenAI(FakeOpenAI):
    """The stand-in, taking a moment for each reply, so that a person can watch the calls arrive."""

    delay_ms = 0

    def arrived(self, seen: Seen) -> Fault:
        """Count a request after a moment."""
        if self.delay_ms:
            threading.Event().wait(self.delay_ms / 1000)
        return super().arrived(seen)


def main(arguments: list[str] | None = None, *, program: str = "callfare") -> int:
    """Run the demo and return its exit code. `program`: how its reader starts callfare's commands."""
    options = _options(arguments, program)
    if find_spec("openai") is None:
        print(WITHOUT_SDK, file=sys.stderr)
        return exits.MISCONFIGURED
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _perform(options, shower(sys.stdout, is_json=options.json, explains=options.explain), program)
    except KeyboardInterrupt:
        print("callfare demo: interrupted", file=sys.stderr)
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read this has seen enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.READER_GONE
    except CallfareError as error:
        print(f"callfare demo: {error.message}", file=sys.stderr)
        return exits.exit_code_of(error)


def _options(arguments: list[str] | None, program: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{program} demo", description="Show callfare at work on this machine: no keys, no network."
    )
    parser.add_argument("--once", action="store_true", help="end when it is done, instead of staying until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line, and nothing else")
    parser.add_argument("--explain", action="store_true", help="show the arithmetic of every call")
    parser.add_argument("--db", metavar="URL", help="the ledger, a new one; in a folder of its own if not given")
    return parser.parse_args(arguments)


def _perform(options: argparse.Namespace, show: Show, program: str) -> int:
    # The specification names Sora, whatever becomes of it; the SDK warns that it will be shut down.
    warnings.filterwarnings("ignore", message="The Sora API", category=DeprecationWarning)
    from callfare.devtools.demo_story import Story  # noqa: PLC0415 - not before it is known that the SDK is there

    url = _ledger(options.db)
    with PacedOpenAI() as fake:
        fake.delay_ms = _DELAY_MS if sys.stdout.isatty() and not options.json else 0
        with open_shop(url) as shop:
            with Callfare(url) as fare:
                story = Story(fare, url, fake, show, shop)
                faults = story.tell()
            if not options.once:
                fake.delay_ms = 0
                shown = without_password(url)
                commands = _commands(program, shown, story.image_charge)
                server, key_file = (shop.url, shop.key_file) if shop else (None, None)
                ready = Ready(ledger=shown, stand_in=fake.base_url, commands=commands, server=server, key_file=key_file)
                _stay(ready, show)
    return exits.FAULTS if faults else exits.OK


def _ledger(url: str | None) -> str:
    """Return the address of the ledger, in a new folder unless one was chosen.

    Raises InvalidInput for one that lives within a single façade: the demo opens its ledger twice.
    """
    if url is None:
        return f"sqlite:///{Path(tempfile.mkdtemp(prefix='callfare-demo-')) / 'callfare.db'}"
    if url.startswith("memory:"):
        raise InvalidInput("the demo opens its ledger twice, so it cannot be in memory", param="db")
    return url


def _commands(program: str, url: str, charge: str) -> tuple[str, ...]:
    questions = ("balance user_123", "history user_123", f"explain {charge}", "verify")
    return tuple(f"{program} --db {url} {question}" for question in questions)


def _stay(ready: Ready, show: Show) -> None:
    """Keep the stand-in serving until Ctrl-C."""
    try:
        show(ready)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\ncallfare demo: stopped; the ledger stays where it is", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(program="./run callfare"))
