"""Stand-ins as a person starts them: `python -m callfare.devtools.fake_openai --port 8081`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

NAMES = ["fake_anthropic", "fake_google", "fake_openai", "fake_stripe"]


def start(name, *words):
    command = [sys.executable, "-m", f"callfare.devtools.{name}", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_port_that_is_taken_is_said_and_not_traced(name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        out, err = start(name, "--port", str(port)).communicate(timeout=120)

    assert out == ""
    assert f"error: port {port} of 127.0.0.1 cannot be had: address already in use; name another with --port" in err
    assert "Traceback" not in err


def test_a_port_that_there_is_not_is_refused():
    process = start("fake_openai", "--port", "99999")

    _, err = process.communicate(timeout=120)

    assert process.returncode == 2
    assert "error: port 99999 of 127.0.0.1 cannot be had" in err


def test_a_free_port_can_be_asked_for():
    process = start("fake_anthropic", "--port", "0")
    try:
        said = process.stdout.readline()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)

    assert said.startswith("The stand-in for Anthropic listens at http://127.0.0.1:")


@pytest.mark.parametrize("words", [(), ("acme",), ("--port", "0")])
def test_a_stand_in_that_is_one_of_several_must_be_named(words):
    process = start("fake_siblings", *words)

    _, err = process.communicate(timeout=120)

    assert process.returncode == 2
    assert "{groq,together,cerebras,mistral,perplexity}" in err
    assert "Traceback" not in err
