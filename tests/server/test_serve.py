"""`callfare serve` as a process: its first start, what it says, how it stops, and where it refuses to listen."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest

from callfare import Callfare
from callfare.server.serving import Listening, bound
from tests.support.ports import held_port

SCRIPT = str(Path(sys.executable).with_name("callfare"))
B = "/api/billing"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - to be refused


def without_settings():
    """The environment, but for callfare's own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CALLFARE_")}


@pytest.fixture
def free_port():
    """A port that nobody else can listen on."""
    with held_port() as port:
        yield port


class Server:
    """A server in another process, in a folder of its own."""

    def __init__(self, folder, *words, env=None):
        self.process = subprocess.Popen(
            [SCRIPT, "serve", "--port", "0", *words],
            cwd=folder,
            env=without_settings() | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self, last="try:"):
        """Return its address, once it has said its last line, and all that it has said by then."""
        said = []
        for line in self.process.stdout:
            said.append(line)
            if line.startswith(last):
                break
        return said[0].split()[-1], said

    def stop(self):
        """End it as an operator does, and return its exit code and its log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=120)
        return self.process.returncode, log


@pytest.fixture
def start(tmp_path):
    """Starts servers in one folder, and ends those that still run."""
    started = []

    def start(*words, env=None):
        started.append(Server(tmp_path, *words, env=env))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


STOPPED_EARLY = """
import os, signal, uvicorn
from callfare.cli import main
run = uvicorn.Server.run
def stopped_before_it_hears(*given, **named):
    os.kill(os.getpid(), signal.SIGTERM)
    return run(*given, **named)
uvicorn.Server.run = stopped_before_it_hears
main()
"""


def test_a_signal_that_comes_while_it_starts_ends_it_too(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED_EARLY, "serve", "--port", "0"],
        cwd=tmp_path, env=without_settings(), capture_output=True, check=False, timeout=120,
    )  # fmt: skip

    assert ended.returncode == 0


def test_a_terminal_is_told_the_key_of_the_first_start(tmp_path):
    ours, theirs = pty.openpty()
    command = [SCRIPT, "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=without_settings(), stdout=theirs, stderr=subprocess.PIPE
    ) as server:
        os.close(theirs)
        with os.fdopen(ours, encoding="utf-8") as screen:
            said = [screen.readline() for _ in range(4)]
            server.terminate()
            server.communicate(timeout=120)
    key = (tmp_path / "callfare.db.secrets" / "admin.key").read_text(encoding="ascii").strip()

    assert f"key, told this once, that may do everything: {key}\n" in said


def test_the_first_start_makes_all_that_is_needed_and_keeps_its_key_in_a_file(start, tmp_path):
    server = start()
    url, said = server.ready()
    file = tmp_path / "callfare.db.secrets" / "admin.key"
    key = file.read_text(encoding="ascii").strip()
    with httpx2.Client(base_url=url) as client:
        without = client.get(f"{B}/usage", params={"userId": "user_123", "period": "month"})
        headers = {"Authorization": f"Bearer {key}"}
        usage = client.get(f"{B}/usage", params={"userId": "user_123", "period": "month"}, headers=headers)
        packages = client.get(f"{B}/packages")
    code, log = server.stop()

    again = start()
    _, said_again = again.ready(last="callfare answers")

    # What it says to a pipe may end in a log.
    assert not any("cf_" in line for line in (*said, *said_again))
    assert any(str(file) in line for line in said)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert (without.status_code, usage.status_code, packages.status_code) == (401, 200, 200)
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    answered = [line for line in lines if line["what"] == "answered"]
    assert [(line["route"], line["status"]) for line in answered] == [
        ("/api/billing/usage", 401),
        ("/api/billing/usage", 200),
        ("/api/billing/packages", 200),
    ]
    assert answered[1]["who"] == f"key:{key.split('_')[2]}"
    assert not any(word in log for word in (key, "user_123", "Bearer"))


def test_the_line_it_says_to_try_works_as_it_is(start, tmp_path):
    server = start()
    _, said = server.ready()
    command = said[-1].removeprefix("try: ").strip()

    answered = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert json.loads(answered.stdout)["period"] == "month"


def test_the_three_commands_of_the_readme_work_when_pasted_at_once(tmp_path, free_port):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    commands = readme.partition("## Over HTTP")[2].partition("```sh\n")[2].partition("```")[0]
    (tmp_path / "run").write_text(f'#!/bin/sh\nshift\nexec {SCRIPT} "$@" --port {free_port}\n', encoding="utf-8")
    (tmp_path / "run").chmod(0o700)
    pasted = commands.replace("8787", str(free_port)).replace("serve &", "serve >said 2>&1 & server=$!")

    answered = subprocess.run(
        ["bash", "-c", f"{pasted}\nkill $server\nwait $server"],
        cwd=tmp_path, env=without_settings(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert json.loads(answered.stdout)["userId"] == "user_123", answered.stderr + (tmp_path / "said").read_text()
    assert len([line for line in commands.splitlines() if not line.startswith(" ")]) == 3


def test_they_end_when_the_port_is_taken_and_there_is_no_key_to_wait_for(tmp_path):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    serve, wait, *_ = readme.partition("## Over HTTP")[2].partition("```sh\n")[2].splitlines()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = serve.replace("./run callfare serve", f"{SCRIPT} serve --port {port}")

        ended = subprocess.run(
            ["bash", "-c", f"{command}\n{wait}\necho came to its end"],
            cwd=tmp_path, env=without_settings(), capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    assert "came to its end" in ended.stdout
    assert "name another with --port" in ended.stderr


def test_what_was_accepted_is_answered_before_it_stops(start, tmp_path):
    server = start()
    url, _ = server.ready()
    key = (tmp_path / "callfare.db.secrets" / "admin.key").read_text(encoding="ascii").strip()
    host, _, port = url.removeprefix("http://").rpartition(":")
    events = [{"userId": "u", "model": "gpt-5-mini", "usage": {"input_tokens": 1}} for _ in range(1000)]
    body = json.dumps(events).encode()
    head = (
        f"POST {B}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()

    with socket.create_connection((host, int(port)), timeout=120) as line:
        line.sendall(head + body[:-1])
        # Half a request has been accepted when another one of the same connection's server was answered.
        httpx2.get(f"{url}/healthz")
        stopping = threading.Thread(target=lambda: server.process.send_signal(signal.SIGTERM))
        stopping.start()
        stopping.join()
        line.sendall(body[-1:])
        said = b"".join(iter(lambda: line.recv(65_536), b""))
    code = server.process.wait(timeout=120)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert b'"recorded":1000' in said
    assert code == 0
    with Callfare(f"sqlite:///{tmp_path}/callfare.db") as fare:
        assert fare.usage("u", "all").calls == 1000


@pytest.mark.parametrize(
    ("words", "env", "hint"),
    [
        (["--host", EVERYWHERE], {}, "callfare keys make admin --admin"),
        pytest.param(["--behind-proxy"], {}, "--trusted-proxy", marks=pytest.mark.all),
        pytest.param(["--tls-key", "key.pem"], {}, "--tls-certificate FILE", marks=pytest.mark.all),
        pytest.param(
            ["--public-url", "billing.example.com"], {}, "CALLFARE_PUBLIC_URL=https://", marks=pytest.mark.all
        ),
    ],
)
def test_it_refuses_to_start_with_the_line_that_puts_it_right(start, words, env, hint):
    server = start(*words, env=env)

    said, log = server.process.communicate(timeout=120)

    assert server.process.returncode in {2, 7}
    assert hint in log
    assert said == ""


def test_beyond_this_machine_it_needs_an_address_and_tls_besides_a_key(start, tmp_path):
    with Callfare(f"sqlite:///{tmp_path}/callfare.db") as fare:
        fare.grant("u", 1, key="k")
        fare.make_key("admin", scopes=["keys:admin"])

    _, no_address = start("--host", EVERYWHERE).process.communicate(timeout=120)
    public = {"CALLFARE_PUBLIC_URL": "https://billing.example.com"}
    _, no_tls = start("--host", EVERYWHERE, env=public).process.communicate(timeout=120)
    behind = start("--host", EVERYWHERE, "--behind-proxy", "--trusted-proxy", "127.0.0.1", env=public)
    url, _ = behind.ready(last="callfare answers")

    assert "CALLFARE_PUBLIC_URL=https://billing.example.com" in no_address
    assert "--tls-certificate FILE --tls-key FILE, or --behind-proxy" in no_tls
    assert url == "https://billing.example.com"


def test_a_port_that_is_taken_is_told_in_a_line(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start("--port", str(taken.getsockname()[1]))
        _, log = server.process.communicate(timeout=120)

    assert server.process.returncode == 7
    assert "name another with --port" in log


async def test_what_it_listens_on_sends_each_part_of_an_answer_at_once():
    found = asyncio.get_running_loop().create_future()

    def connected(_, writer):
        found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = bound(Listening(port=0))
    async with await asyncio.start_server(connected, sock=listener):
        with socket.create_connection(listener.getsockname(), timeout=120):
            has_no_delay = await found

    # With it, the second of two small parts waits for the first to be acknowledged: 40 ms an answer.
    assert has_no_delay


def test_settings_come_from_the_file_of_the_folder_and_are_shown_without_secrets(tmp_path):
    (tmp_path / ".env.local").write_text(
        "# ours\nexport CALLFARE_DATABASE_URL='postgresql://me:hunter2@db.example/x'  # the ledger\n"
        'CALLFARE_PORT="9000"\nNEXT_PUBLIC_X=1\n',
        encoding="utf-8",
    )
    names = {name: value for name, value in os.environ.items() if not name.startswith("CALLFARE_")}

    shown = subprocess.run(
        [SCRIPT, "config", "--json"],
        cwd=tmp_path,
        env=names | {"CALLFARE_HOST": "localhost"},
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(shown.stdout)
    assert found["CALLFARE_DATABASE_URL"] == {"value": "postgresql://me@db.example/x", "source": ".env.local"}
    assert found["CALLFARE_PORT"] == {"value": "9000", "source": ".env.local"}
    assert found["CALLFARE_HOST"] == {"value": "localhost", "source": "environment"}
    assert found["CALLFARE_PUBLIC_URL"] == {"value": "", "source": "default"}
    assert "hunter2" not in shown.stdout


def test_a_program_that_asks_for_json_is_told_the_key_of_the_first_start(tmp_path):
    process = subprocess.Popen(
        [SCRIPT, "--json", "serve", "--port", "0"],
        cwd=tmp_path, env=without_settings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
    process.terminate()
    process.communicate(timeout=120)

    assert told["key"] == Path(told["key_file"]).read_text(encoding="ascii").strip()
