"""How the demo begins, looks and ends: as a process, in a pipe, on a terminal, interrupted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from openai import OpenAI

from callfare.callfare import Callfare
from callfare.devtools import demo, demo_arithmetic
from callfare.devtools.demo_show import OWN_APP
from callfare.devtools.fake_openai import FakeOpenAI
from tests.demo.starting import DEMO, bare_environment
from tests.support.ports import is_refused
from tests.support.slow_store import until

ESCAPE = "\x1b["


def perform(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments],
        env=bare_environment(**environment),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def on_terminal(*arguments: str, width: int, interrupt_at: str = "", **environment: str) -> tuple[str, int]:
    """Return what a person at a terminal saw, who pressed Ctrl-C when this text appeared, and the exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    process = subprocess.Popen(
        [*DEMO, *arguments],
        env=bare_environment(TERM="xterm-256color", **environment),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    awaited = interrupt_at.encode()
    # A terminal whose other side is gone answers with an error instead of an end.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65536):
            seen += part
            if awaited and awaited in seen:
                process.send_signal(signal.SIGINT)
                awaited = b""
    os.close(ours)
    return seen.decode().replace("\r\n", "\n"), process.wait(timeout=120)


def callfare(words: str) -> int:
    """Run the command line as it was installed, and return its exit code."""
    program = Path(sys.executable).with_name("callfare")
    return subprocess.run([program, *shlex.split(words)], capture_output=True, timeout=120, check=False).returncode


def test_the_command_line_has_it_too(tmp_path):
    url = f"sqlite:///{tmp_path}/callfare.db"

    assert callfare(f"demo --once --json --db {url}") == 0
    assert callfare(f"demo --once --json --db {url}") == 2


def test_in_a_pipe_it_is_plain_text(tmp_path):
    done = perform("--once", TMPDIR=str(tmp_path))

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert ESCAPE not in done.stdout
    assert "verify     clean" in done.stdout
    assert all(line in done.stdout for line in OWN_APP.splitlines())
    assert len(list(tmp_path.glob("callfare-demo-*/callfare.db"))) == 1


def test_on_a_terminal_it_has_colour():
    page, exit_code = on_terminal("--once", width=118)

    assert exit_code == 0, page
    assert f"{ESCAPE}1mcallfare demo" in page
    assert re.search(r"credits +credits left +of its estimate", re.sub(r"\x1b\[\d+m", "", page))


@pytest.mark.all
def test_on_a_narrow_terminal_without_colour_it_is_plain_and_its_tables_fit():
    page, exit_code = on_terminal("--once", width=80, NO_COLOR="1")

    rows = [line for line in page.splitlines() if "sora-2" in line or "gpt-image-1" in line]
    assert exit_code == 0, page
    assert ESCAPE not in page
    assert len(rows) == 20
    assert max(len(row) for row in rows) <= 80


@pytest.mark.all
def test_where_only_ascii_fits_it_is_ascii():
    done = perform("--once", PYTHONIOENCODING="ascii")

    assert done.returncode == 0, done.stdout
    assert done.stdout.isascii()
    assert "15 |o-----------------| 50" in done.stdout


@pytest.mark.all
def test_explain_shows_the_arithmetic_of_every_call():
    done = perform("--once", "--explain")

    assert done.stdout.count("images: 4 × $0.08 / 1 = $0.32 = 32 credits") == 4
    assert done.stdout.count("video_seconds: 12 × $0.04 / 1 = $0.48 = 48 credits") == 5


def test_it_stays_and_serves_until_it_is_interrupted(tmp_path):
    url = f"sqlite:///{tmp_path}/callfare.db"
    process = subprocess.Popen(
        [*DEMO, "--json", "--db", url], env=bare_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    ready = next(event for line in process.stdout if (event := json.loads(line))["event"] == "ready")

    with OpenAI(base_url=ready["stand_in"], api_key="none") as client, Callfare(url) as fare:
        reply = client.responses.create(model="gpt-5-mini", input="Still there?")
        available = str(fare.balance("user_123").available)
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=120)

    assert reply.status == "completed"
    assert available == "1510.594315"
    assert (process.returncode, said) == (0, b"")
    assert b"stopped" in complaints
    assert b"Traceback" not in complaints
    assert ready["commands"][0] == f"./run callfare --db {url} balance user_123"
    assert [callfare(command.removeprefix("./run callfare ")) for command in ready["commands"]] == [0, 0, 0, 0]


def test_killed_it_takes_its_server_with_it(tmp_path):
    command = [*DEMO, "--json", "--db", f"sqlite:///{tmp_path}/callfare.db"]
    with subprocess.Popen(command, env=bare_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as demo:
        ready = next(event for line in demo.stdout if (event := json.loads(line))["event"] == "ready")
        address = urlsplit(ready["server"])
        with socket.create_connection((address.hostname, address.port), timeout=60) as held:
            demo.kill()
            # A server closes this one when it stops, and also when nothing is asked over it for a while.
            held.recv(1)

        until(lambda: is_refused(address.hostname, address.port))


def test_interrupted_on_its_way_it_ends_without_a_trace():
    page, exit_code = on_terminal("--once", width=120, NO_COLOR="1", interrupt_at="12 s of video")

    assert exit_code == 130
    assert page.endswith("\ncallfare demo: interrupted\n")
    assert "Traceback" not in page
    assert "In your own app" not in page


def test_whoever_reads_only_the_beginning_is_not_met_with_a_trace(tmp_path):
    command = f"{sys.executable} -m callfare.devtools.demo --once | head -3"

    done = subprocess.run(
        ["sh", "-c", command], env=bare_environment(TMPDIR=str(tmp_path)), capture_output=True, text=True, check=False
    )

    assert done.stdout.startswith("callfare demo")
    assert done.stderr == ""


def test_without_the_sdk_it_says_in_a_line_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda _: None)

    exit_code = demo.main(["--once"])

    said = capsys.readouterr()
    assert (exit_code, said.out) == (7, "")
    assert said.err == "callfare demo: the openai package is missing; run: pip install 'callfare[demo]'\n"


def test_a_ledger_that_was_used_is_refused_and_stays_as_it_was(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/callfare.db"
    with Callfare(url) as fare:
        fare.grant("user_123", 5, key="welcome")

        exit_code = demo.main(["--once", "--db", url])

        assert exit_code == 2
        assert "knows user_123 already; give the demo a new one" in capsys.readouterr().err
        assert str(fare.balance("user_123").posted) == "5"
        assert len(fare.transactions("user_123").items) == 1


def test_a_ledger_in_memory_is_refused(capsys):
    exit_code = demo.main(["--once", "--db", "memory://"])

    assert exit_code == 2
    assert "cannot be in memory" in capsys.readouterr().err


def test_a_charge_that_differs_from_the_table_fails_the_demo(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(demo_arithmetic._IMAGE, "1024x1024", 1)

    exit_code = demo.main(["--once", "--db", f"sqlite:///{tmp_path}/callfare.db"])

    assert exit_code == 1
    assert "NOT AS IT SHOULD BE: thread was charged what its calls come to" in capsys.readouterr().out


def test_the_lines_for_ones_own_app_run_as_they_stand_and_again(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(OWN_APP, {})  # noqa: S102 - it is for people to run
        exec(OWN_APP, {})  # noqa: S102 - again, on the ledger it made

    # Granted once; each call has 7 tokens in and 106 out: 7 × 0.000015 + 106 × 0.00006 = 0.006465 credits.
    assert capsys.readouterr().out.split() == ["1999.993535", "1999.98707"]
