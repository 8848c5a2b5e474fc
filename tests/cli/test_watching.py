"""`callfare watch`: a line or a picture for each change, until it is interrupted."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios

import pytest

from callfare import Callfare, Credits
from callfare.cli.watching import levels
from tests.cli.terminals import SCRIPT
from tests.support.ports import held_port
from tests.support.serving import engine_on, served

LEDGER = "sqlite:///callfare.db"
IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}


@pytest.fixture
def fare(folder):
    with Callfare(LEDGER) as fare:
        fare.grant("alice", 100, key="k")
        yield fare


@pytest.fixture
def watching(folder):
    """Starts the command, and ends what still runs."""
    started = []

    def start(*words, **streams):
        command = [SCRIPT, "watch", "alice", "--every", "0.1", *words]
        started.append(subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, **streams))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_script_reads_a_document_for_each_change(fare, watching):
    process = watching("--json", stdout=subprocess.PIPE)

    first = json.loads(process.stdout.readline())
    with fare.run("tweet", user="alice", hold=20) as run:
        opened = _document(process, held="20", run=("open", "0"))
        run.record(**IMAGE)
        used = _document(process, held="20", run=("open", "4"))
    closed = _document(process, held="0", run=("completed", "4"))
    process.send_signal(signal.SIGINT)

    assert (first["balance"]["available"], first["runs"]) == ("100", [])
    assert opened["balance"]["available"] == "80"
    assert used["balance"]["spent"] == "4"
    assert closed["balance"]["available"] == "96"
    assert process.wait(120) == 130


def test_a_watch_of_somebody_the_ledger_never_heard_of_says_so(folder):
    with Callfare(LEDGER) as fare:
        fare.grant("alice", 100, key="k")
    command = [SCRIPT, "watch", "alise", "--every", "0.1"]

    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)

    assert first.startswith("available 0.00")
    assert said.startswith("nothing is known of alise: ")


def test_a_person_reads_a_line_for_each_change_in_a_pipe(fare, watching):
    process = watching(stdout=subprocess.PIPE)

    first = process.stdout.readline()
    fare.open_run("tweet", user="alice", run_id="r1", hold=20)
    second = process.stdout.readline()
    while not (b"held 20.00" in second and b"r1" in second):
        # The balance and the runs are looked at one after the other.
        second = process.stdout.readline()

    assert first == b"available 100.00  held 0.00\n"
    assert second == b"available 80.00  held 20.00  r1 open 0.00\n"


def test_a_terminal_shows_one_picture_drawn_again(fare, watching):
    ours, theirs = pty.openpty()
    process = watching(stdout=theirs, stdin=theirs, env=os.environ | {"TERM": "xterm", "NO_COLOR": "1"})
    os.close(theirs)

    first = _until(ours, b"changes nothing")
    fare.open_run("tweet", user="alice", run_id="r1", hold=75)
    # The balance is looked at before the runs: the run may be there first, and is there when the balance has fallen.
    second = _until(ours, b"changes nothing", after="█▃".encode())
    process.send_signal(signal.SIGINT)

    assert first.startswith("\x1b[H\x1b[2J")
    assert "available  100.00 credits ($1.00)" in first
    assert "no runs of alice" in first
    assert "\x1b[H\x1b[2J" in second
    assert "r1" in second.partition("█▃")[2]
    os.close(ours)


@pytest.fixture
def sized(watching):
    """Starts the command before a terminal of 120 columns, to look once an hour; gives it and our side of that."""
    opened = []

    def start():
        ours, theirs = pty.openpty()
        opened.append(ours)
        resize(theirs, 120)
        process = watching(
            "--every", "3600", stdout=theirs, stdin=theirs, env=os.environ | {"TERM": "xterm"}, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        return process, ours

    yield start
    for ours in opened:
        os.close(ours)


def test_a_picture_is_drawn_anew_when_the_terminal_has_another_size(fare, sized):
    for number in range(3):
        fare.open_run("a-workflow-with-a-long-name", user="alice", run_id=f"run-{number}", hold=1)
    process, ours = sized()

    wide = _until(ours, b"changes nothing")
    # The kernel tells whoever is in front of the terminal.
    resize(ours, 50)
    narrow = _until(ours, b"changes nothing")
    process.send_signal(signal.SIGINT)

    widths = [max(len(line) for line in picture.splitlines() if "\x1b" not in line) for picture in (wide, narrow)]
    assert widths[1] < widths[0]
    assert "\x1b[H\x1b[2J" in narrow


def test_sizes_that_change_at_any_moment_do_not_stop_it(fare, sized):
    _, ours = sized()
    _until(ours, b"changes nothing")

    for number in range(5_000):
        resize(ours, 50 + number % 2)
        if select.select([ours], [], [], 0)[0]:
            os.read(ours, 65536)
    resize(ours, 40)

    assert "changes nothing" in _until(ours, b"changes nothing")


def test_it_looks_on_while_a_server_is_away_and_says_when_it_is_back(folder, watching):
    with held_port() as port:
        with served(engine_on(LEDGER), port=port) as serving:
            words = ("--server", serving.url, "--json")
            key = {"CALLFARE_API_KEY": serving.credentials["service"]}
            process = watching(*words, stdout=subprocess.PIPE, env=os.environ | key)
            first = json.loads(process.stdout.readline())
        away = process.stderr.readline()
        with served(engine_on(LEDGER), port=port, shown=lambda *_: {}):
            back = process.stderr.readline()
            again = json.loads(process.stdout.readline())

    assert b"looking on" in away
    assert b"answers again" in back
    assert first == again


def test_it_looks_on_while_the_ledger_is_away(fare, watching, folder):
    process = watching("--json", stdout=subprocess.PIPE)
    process.stdout.readline()

    (folder / "callfare.db").rename(folder / "elsewhere.db")
    said = process.stderr.readline()
    (folder / "elsewhere.db").rename(folder / "callfare.db")
    fare.grant("alice", 5, key="more")

    assert b"looking on" in said
    while (found := json.loads(process.stdout.readline())["balance"]["available"]) == "100":
        # It may have been back before the grant.
        pass
    assert found == "105"


def test_without_a_ledger_it_says_so(cli):
    assert cli.error("watch", "alice", exit_code=4)["code"] == "ledger_not_found"


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "1e9"])
def test_a_wait_that_cannot_be_is_refused(cli, every):
    assert cli.error("watch", "alice", f"--every={every}", exit_code=2)["param"] == "every"


def test_levels_show_the_share_of_the_greatest_amount():
    assert levels([Credits(8), Credits(4), Credits("0.5"), Credits(0)]) == "█▅▁▁"
    assert levels([Credits(0)]) == "▁"


def resize(terminal, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))


def _document(process, *, held, run):
    """The first document with a balance and a run like these: the two are looked at one after the other."""
    while True:
        found = json.loads(process.stdout.readline())
        last = found["runs"][0] if found["runs"] else {"status": None, "charged": None}
        if (found["balance"]["held"], (last["status"], last["charged"])) == (held, run):
            return found


def _until(terminal, end, *, after=b""):
    said = b""
    while end not in said.partition(after or b"alice")[2]:
        said += os.read(terminal, 65536)
    return said.decode().replace("\r\n", "\n")
