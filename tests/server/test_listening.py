"""Where a server may listen, and when it takes itself for one that only this machine can reach."""

from __future__ import annotations

import subprocess
import sys

import pytest

from callfare.errors import Misconfigured
from callfare.server.serving import Listening


@pytest.mark.parametrize(
    ("listening", "is_local"),
    [
        (Listening(), True),
        (Listening(host="::1"), True),
        (Listening(public_url="http://localhost:8787"), True),
        (Listening(public_url="https://billing.example.com"), False),
        (Listening(is_behind_proxy=True, trusted_proxies=("127.0.0.1",)), False),
        (Listening(host="0.0.0.0"), False),  # noqa: S104 - nothing listens there
    ],
    ids=["loopback", "loopback v6", "own name", "public name", "behind a proxy", "everywhere"],
)
def test_a_server_that_others_reach_through_a_proxy_is_not_local(listening, is_local):
    assert listening.is_local is is_local


@pytest.mark.parametrize("proxy", ["*", "0.0.0.0/0", "::/0", "proxy.example.com", "10.0.0.7/24", ""])
def test_a_trusted_proxy_is_an_address_and_not_everybody(proxy):
    with pytest.raises(Misconfigured, match=r"10\.0\.0\.7"):
        Listening(is_behind_proxy=True, trusted_proxies=(proxy,)).check(has_admin_key=True)


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "login.example.com",
        "http://login.example.com",
        "https://",
        "https://a:b@login.example.com",
        "https://login.example.com?x",
        "https://login.example.com#x",
        "https://login.example.com/\n",
        "https://[::1",
        "javascript:alert(1)",
    ],
)
def test_an_authorization_server_is_an_address_over_tls_and_nothing_more(issuer):
    with pytest.raises(Misconfigured, match=r"login\.example\.com"):
        Listening(authorization_servers=(issuer,)).check(has_admin_key=True)


@pytest.mark.parametrize("issuer", ["https://login.example.com", "https://example.com/tenant", "http://127.0.0.1:9000"])
def test_the_address_of_an_authorization_server_is_taken(issuer):
    Listening(authorization_servers=(issuer,)).check(has_admin_key=True)


@pytest.mark.parametrize("proxy", ["10.0.0.7", "10.0.0.0/24", "::1"])
def test_the_address_of_a_proxy_is_taken(proxy):
    Listening(is_behind_proxy=True, trusted_proxies=("127.0.0.1", proxy)).check(has_admin_key=True)


@pytest.mark.parametrize(
    "half", [{"is_behind_proxy": True}, {"trusted_proxies": ("10.0.0.7",)}], ids=["no address", "no word of a proxy"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - nothing listens there
def test_a_proxy_is_told_of_by_both_or_not_at_all(host, half):
    listening = Listening(host=host, public_url="https://billing.example.com", **half)

    with pytest.raises(Misconfigured, match="--behind-proxy --trusted-proxy ADDRESS"):
        listening.check(has_admin_key=True)


def test_what_stands_at_the_start_is_not_searched_for_garbage_again():
    said = (
        "import gc; from callfare.server.serving import settle_memory; settle_memory(); "
        "print(gc.get_freeze_count() > 10_000, len(gc.get_objects()) < 1_000, gc.get_threshold()[0] >= 10_000)"
    )

    # In a process of its own: it would hold for all the tests after this one.
    told = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)

    assert told.stdout.split() == ["True", "True", "True"]
