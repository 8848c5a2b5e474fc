"""`callfare mcp` as a process: how it is started, what it writes where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest

from callfare.mcp.stdio import Unanswered
from tests.mcp.conftest import SCRIPT

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "by hand", "version": "1"}},
}
CALL = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "billing_balance", "arguments": {}}}


class Host:
    """A host that speaks to the process by hand, a line at a time."""

    def __init__(self, *words):
        names = {name: value for name, value in os.environ.items() if not name.startswith("CALLFARE_")}
        self.process = subprocess.Popen(
            [SCRIPT, "mcp", *words],
            env=names,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, line):
        self.process.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.process.stdin.flush()

    def ask(self, message):
        self.tell(message)
        return json.loads(self.process.stdout.readline())

    def end(self):
        """Close its input, as hosts do, and return its code and what else it wrote."""
        rest, said = self.process.communicate(timeout=120)
        return self.process.returncode, rest, said


@pytest.fixture
def start():
    started = []

    def start(*words):
        started.append(Host(*words))
        return started[-1]

    yield start
    for host in started:
        if host.process.poll() is None:
            host.process.kill()
        host.process.wait()
        for stream in (host.process.stdin, host.process.stdout, host.process.stderr):
            with suppress(BrokenPipeError):
                stream.close()


def test_it_ends_with_its_input_and_writes_nothing_but_the_protocol(start, url):
    host = start("--db", url, "--user", "alice")
    begun = host.ask(HELLO)
    host.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
    called = host.ask(CALL)

    code, rest, said = host.end()

    assert begun["result"]["serverInfo"]["name"] == "callfare"
    assert called["result"]["structuredContent"]["user_id"] == "alice"
    assert (code, rest, said) == (0, "", "")


@pytest.mark.parametrize("calls", [1, 40])
def test_all_that_a_pipe_asked_is_answered_before_it_ends(start, url, calls):
    host = start("--db", url, "--user", "alice")
    asked = [HELLO, *(CALL | {"id": f"call {number}"} for number in range(calls))]
    host.process.stdin.write("".join(json.dumps(message) + "\n" for message in asked))

    code, answers, said = host.end()

    told = {answer["id"]: answer for answer in map(json.loads, answers.splitlines())}
    assert told.keys() == {message["id"] for message in asked}
    assert all(told[f"call {number}"]["result"]["structuredContent"] for number in range(calls))
    assert (code, said) == (0, "")


@pytest.mark.parametrize(
    ("params", "ended"),
    [({"requestId": 2}, True), ({"requestId": "2"}, False), ({"requestId": [2]}, False), ({}, False), (None, False)],
)
def test_what_was_called_off_is_not_waited_for(params, ended):
    async def has_ended():
        said, incoming = anyio.create_memory_object_stream(2)
        heard, asked = anyio.create_memory_object_stream(2)
        async with said:
            await said.send(SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=2, method="tools/list")))
            await said.send(
                SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params=params))
            )
        async with incoming, asked, anyio.create_task_group() as tasks:
            tasks.start_soon(Unanswered().hear, incoming, heard)
            await asked.receive()
            await asked.receive()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            return asked.statistics().open_send_streams == 0

    assert anyio.run(has_ended) is ended


def test_a_line_that_is_no_message_does_not_end_it(start, url):
    host = start("--db", url, "--user", "alice")
    host.ask(HELLO)
    for line in ("{", "null", "[]", '{"jsonrpc": "2.0"}', "\u0000", "x" * 100_000):
        host.tell(line)

    called = host.ask(CALL)

    while called.get("id") != 2:
        called = json.loads(host.process.stdout.readline())
    assert called["result"]["structuredContent"]["user_id"] == "alice"
    assert host.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(start, url, number):
    host = start("--db", url, "--user", "alice")
    host.ask(HELLO)

    host.process.send_signal(number)
    code = host.process.wait(timeout=120)

    assert code == -number


@pytest.mark.parametrize("calls", [1, 40])
def test_a_host_that_is_gone_ends_it_quietly(start, url, calls):
    host = start("--db", url, "--user", "alice")
    host.ask(HELLO)
    host.process.stdout.close()
    # In one piece: with the first answer that nobody reads it may end, and hear no more.
    host.tell("\n".join(json.dumps(CALL | {"id": number}) for number in range(2, 2 + calls)))
    host.process.stdin.close()

    code = host.process.wait(timeout=120)

    assert (code, host.process.stderr.read()) == (141, "")


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        ([], 2, "--user USER, or --admin for everybody"),
        (["--user", "alice", "--admin"], 2, "--user USER, or --admin for everybody"),
        (["--user", ""], 2, "user has 0 characters"),
        (["--admin", "--db", "nonsense://x"], 7, "nonsense"),
    ],
)
def test_it_refuses_to_start_in_a_line(start, words, code, hint):
    host = start(*words)

    ended, rest, said = host.end()

    assert (ended, rest) == (code, "")
    assert hint in said
    assert said.count("\n") == 1


def test_it_does_without_the_http_server(url):
    program = (
        "import sys\n"
        "from callfare.cli import main\n"
        f"sys.argv = ['callfare', 'mcp', '--db', {url!r}, '--admin']\n"
        "try:\n    main()\nfinally:\n    print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, input="")

    loaded = set(done.stderr.splitlines())
    assert "mcp" in loaded
    assert not {"fastapi", "callfare.server.app", "callfare.server.caller", "prometheus_client", "openai"} & loaded


def test_without_the_extra_it_says_what_to_install(url):
    program = (
        "import sys\n"
        "sys.modules['mcp'] = None\n"
        "from callfare.cli import main\n"
        f"sys.argv = ['callfare', 'mcp', '--db', {url!r}, '--admin']\n"
        "main()\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, input="")

    assert done.returncode == 7
    assert "pip install 'callfare[server]'" in done.stderr
