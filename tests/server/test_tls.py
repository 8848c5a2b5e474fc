"""TLS and proxies: what travels beyond this machine is encrypted, by the server itself or by a proxy it was told of."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from callfare import Callfare
from tests.server.test_serve import EVERYWHERE, start  # noqa: F401 - a fixture
from tests.support.certificates import certified

B = "/api/billing"
PUBLIC = {"CALLFARE_PUBLIC_URL": "https://billing.example.com"}


@pytest.fixture
def files(tmp_path):
    """A certificate for the loopback, its key, and whom to trust."""
    return certified(tmp_path / "tls")


@pytest.fixture
def admin(tmp_path):
    """The key of an administrator of the ledger that a server here opens."""
    with Callfare(f"sqlite:///{tmp_path}/callfare.db") as fare:
        fare.grant("alice", 100, key="welcome")
        return fare.make_key("admin", scopes=["keys:admin", "all:read"]).key


def trusting(files):
    return ssl.create_default_context(cafile=str(files.authority))


def with_tls(files):
    return ["--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]


def bearer(key, **more):
    return {"Authorization": f"Bearer {key}"} | more


def test_it_serves_over_tls_to_whoever_trusts_its_certificate(start, files, admin):  # noqa: F811
    url, _ = start(*with_tls(files)).ready(last="callfare answers")

    with httpx2.Client(base_url=url, verify=trusting(files), headers=bearer(admin)) as client:
        balance = client.get(f"{B}/balance", params={"userId": "alice"})

    assert url.startswith("https://127.0.0.1:")
    assert (balance.status_code, balance.json()["availableCredits"]) == (200, "100")
    with pytest.raises(httpx2.ConnectError, match=r"(?i)certificate"):
        httpx2.get(f"{url}/healthz")


def test_what_is_not_encrypted_gets_no_answer(start, files, admin):  # noqa: F811
    url, _ = start(*with_tls(files)).ready(last="callfare answers")
    there = urlsplit(url)

    with socket.create_connection((there.hostname, there.port), timeout=120) as line:
        line.sendall(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {admin}\r\n\r\n".encode())
        said = line.recv(65_536)

    assert b"HTTP/" not in said
    assert b"ok" not in said


def test_beyond_this_machine_it_listens_with_a_key_an_address_and_tls_and_opens_nothing_else(start, files, admin):  # noqa: F811
    server = start("--host", EVERYWHERE, *with_tls(files), env=PUBLIC)
    url, said = server.ready(last="callfare answers")
    port = _port_of(server)

    with httpx2.Client(base_url=f"https://localhost:{port}", verify=trusting(files)) as client:
        health = client.get("/healthz")
        closed = {path: client.get(path).status_code for path in ("/metrics", "/openapi.json", "/readyz", f"{B}/keys")}
        opened = client.get("/metrics", headers=bearer(admin))
        foreign = client.get("/healthz", headers={"Host": "evil.example.com"})
        public = client.get("/healthz", headers={"Host": "billing.example.com"})

    assert url == "https://billing.example.com", said
    assert (health.status_code, opened.status_code) == (200, 200)
    assert closed == dict.fromkeys(closed, 401)
    assert (foreign.status_code, public.status_code) == (421, 200)


def _port_of(server):
    """Return the port that a server listens on, as the system tells it."""
    inodes = set()
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if columns[9] in inodes and columns[3] == "0A":
            return int(columns[1].rpartition(":")[2], 16)
    raise AssertionError("it listens nowhere")


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (lambda files: files.key.unlink(), "No such file"),
        (lambda files: files.key.write_text("nothing"), "--tls-certificate FILE --tls-key FILE"),
        (lambda files: certified(files.key.parent, password=b"secret"), "without a password"),
        (lambda files: files.certificate.write_bytes(files.authority.read_bytes()), "key values mismatch"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_a_line_before_anything_listens(start, files, spoil, hint):  # noqa: F811
    spoil(files)

    said, log = start(*with_tls(files)).process.communicate(timeout=120)

    assert said == ""
    assert hint.lower().replace(" ", "_") in log.lower().replace(" ", "_")
    assert "Traceback" not in log


def test_a_proxys_word_on_who_calls_is_taken_from_a_trusted_one_alone(start, tmp_path):  # noqa: F811
    with Callfare(f"sqlite:///{tmp_path}/callfare.db") as fare:
        near = fare.make_key("office", scopes=["all:read"], networks=["203.0.113.0/24"]).key
    trusted, _ = start("--behind-proxy", "--trusted-proxy", "127.0.0.1").ready(last="callfare answers")
    distrusted, _ = start("--behind-proxy", "--trusted-proxy", "192.0.2.1").ready(last="callfare answers")
    office = bearer(near, **{"X-Forwarded-For": "203.0.113.9"})
    elsewhere = bearer(near, **{"X-Forwarded-For": "198.51.100.9"})

    def status(url, headers):
        return httpx2.get(f"{url}{B}/balance", params={"userId": "u"}, headers=headers).status_code

    assert [status(trusted, headers) for headers in (office, elsewhere, bearer(near))] == [200, 401, 401]
    assert [status(distrusted, headers) for headers in (office, elsewhere, bearer(near))] == [401, 401, 401]
