"""Who may connect: past the proxy that does a server's TLS nobody, and no more at once than the server takes."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import httpx2
import pytest

from callfare.server import heads
from callfare.server.peers import Peers
from callfare.server.serving import Listening
from tests.support.serving import engine_on, served
from tests.support.slow_store import until

B = "/api/billing"
# Both are this machine, which has many addresses of the loopback.
PROXY, DIRECT = "127.0.0.2", "127.0.0.1"
PUBLIC = {"public_url": "https://billing.example.com", "is_behind_proxy": True, "trusted_proxies": ("10.0.0.7",)}


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """A server that is to be reached through its proxy only."""
    folder = tmp_path_factory.mktemp("behind")
    peers = Peers((PROXY,), is_closed=True)
    with served(engine_on(f"sqlite:///{folder}/x.db"), is_local=False, peers=peers) as serving:
        yield serving


def client_from(serving, address, caller="service"):
    """Return a client that connects from an address."""
    headers = {} if caller is None else {"Authorization": f"Bearer {serving.credentials[caller]}"}
    return httpx2.Client(
        base_url=serving.url, headers=headers, transport=httpx2.HTTPTransport(local_address=address), timeout=120
    )


@pytest.mark.parametrize("path", ["/healthz", f"{B}/packages", f"{B}/balance?userId=alice", "/nothing"])
@pytest.mark.parametrize("told", [{}, {"X-Forwarded-For": PROXY}, {"X-Forwarded-Proto": "https"}], ids=str)
def test_past_its_proxy_nobody_is_answered(behind, path, told):
    with client_from(behind, DIRECT) as direct:
        answer = direct.get(path, headers=told)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "proxy_required")
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


def test_through_its_proxy_everything_is_as_always(behind):
    with client_from(behind, PROXY) as proxy:
        answer = proxy.get(f"{B}/balance", params={"userId": "alice"}, headers={"X-Forwarded-For": "203.0.113.9"})

    assert answer.status_code == 200


def test_who_fails_behind_the_proxy_is_counted_by_the_address_that_it_tells(behind):
    with client_from(behind, PROXY, None) as proxy:
        wrong = {"Authorization": "Bearer wrong"}
        for _ in range(10):
            proxy.get(f"{B}/balance", headers=wrong | {"X-Forwarded-For": "203.0.113.10"})
        statuses = [
            proxy.get(f"{B}/balance", headers=wrong | {"X-Forwarded-For": f"203.0.113.{last}"}).status_code
            for last in (10, 11)
        ]

    assert statuses == [429, 401]


@pytest.mark.parametrize(
    ("listening", "is_refused"),
    [
        (Listening(), False),
        (Listening(is_behind_proxy=True, trusted_proxies=("10.0.0.7",)), False),
        (Listening(host="0.0.0.0", **PUBLIC), True),  # noqa: S104 - nothing listens there
        (Listening(host="::", **PUBLIC), True),
    ],
    ids=["loopback", "loopback behind a proxy", "everywhere", "everywhere v6"],
)
def test_only_what_others_can_reach_is_closed_to_them(listening, is_refused):
    scope = {"client": ("203.0.113.9", 50_000)}

    if is_refused:
        with pytest.raises(Exception, match="through its proxy only"):
            listening.peers.check(scope)
    else:
        listening.peers.check(scope)


def test_a_proxy_is_known_by_its_address_in_a_socket_of_both_families():
    scope = {"client": ("::ffff:10.0.0.7", 50_000)}

    Listening(host="::", **PUBLIC).peers.check(scope)

    assert scope["client"] == ("10.0.0.7", 50_000)


def test_above_the_most_connections_a_request_is_refused_in_the_one_shape(tmp_path, monkeypatch):
    monkeypatch.setattr(heads, "CONNECTIONS_MAX", 3)
    with served(engine_on(f"sqlite:///{tmp_path}/x.db")) as serving, ExitStack() as lines:
        held = [lines.enter_context(socket.create_connection((serving.host, serving.port))) for _ in range(3)]
        with serving.client() as client:
            until(lambda: len(serving.server.server_state.connections) >= len(held))
            above = client.get(f"{B}/balance", params={"userId": "alice"}, headers={"X-Request-Id": "one-too-many"})
            for line in held:
                line.close()
            until(lambda: not serving.server.server_state.connections)
            after = client.get(f"{B}/balance", params={"userId": "alice"})

    error = above.json()["error"]
    assert (above.status_code, error["code"], error["request_id"]) == (503, "overloaded", "one-too-many")
    assert (above.headers["retry-after"], above.headers["connection"]) == ("2", "close")
    assert after.status_code == 200
