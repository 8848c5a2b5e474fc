"""What is written for buyers works as it is written: the README's commands, and the specification's requests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.support.ports import held_port
from tests.support.selling import selling

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).with_name("callfare")

# The specification's own words. An Authorization header is all that is added.
PACKAGES = "GET /api/billing/packages\n"
CHECKOUT = """POST /api/billing/checkout
Content-Type: application/json

{
  "userId": "user_123",
  "email": "user@example.com",
  "packageId": "credits_2000"
}
"""
PORTAL = """POST /api/billing/portal
Content-Type: application/json

{
  "userId": "user_123",
  "email": "user@example.com"
}
"""
USAGE = "GET /api/billing/usage?userId=user_123&period=month\n"


def asked(seller, written: str) -> dict[str, object]:
    """Return what curl is answered that sends a request as it is written, with a key."""
    head, _, body = written.partition("\n\n")
    request, *headers = head.splitlines()
    method, _, target = request.partition(" ")
    words = [
        word
        for header in (*headers, f"Authorization: {seller.client.headers['authorization']}")
        for word in ("-H", header)
    ]
    command = ["curl", "--fail-with-body", "--silent", "-X", method, *words, *(["-d", body] if body else [])]
    done = subprocess.run([*command, f"{seller.url}{target}"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_requests_of_the_specification_lead_to_bought_credits(tmp_path):
    with selling(tmp_path, packages=None) as seller:
        offered = asked(seller, PACKAGES)["packages"]
        bought, portal = asked(seller, CHECKOUT), asked(seller, PORTAL)
        before = seller.available("user_123")
        paid(str(bought["url"]))
        usage = asked(seller, USAGE)

        assert [(one["name"], one["credits"], one["priceUsd"], one["creditsPerUsd"]) for one in offered] == [
            ("Starter", "500", "5", 100),
            ("Creator", "2000", "18", 111),
            ("Pro", "5000", "40", 125),
            ("Studio", "15000", "100", 150),
        ]
        assert (list(bought), list(portal)) == (["url"], ["url"])
        assert (before, seller.available("user_123")) == ("0", "2000")
        assert usage["userId"] == "user_123"
        assert "Billing of user@example.com" in httpx2.get(str(portal["url"]), timeout=120).text
        assert seller.verify().returncode == 0


def paid(address: str) -> None:
    """Pay as a browser does with the form of the page, and come back."""
    card = {"email": "user@example.com", "method": "card", "number": "4242 4242 4242 4242", "name": "Jenny Rosen"}
    page = httpx2.post(address, data=card, follow_redirects=True, timeout=120)
    assert "<h1>Thank you</h1>" in page.text, page.text


@pytest.fixture
def free_port():
    with held_port() as port:
        yield port


def test_the_three_commands_of_the_readme_lead_to_a_bought_package(tmp_path, free_port):
    """As a new user types them: nothing is there but a home that is empty, and no setting."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Selling credits")[2]
    commands = section.partition("```sh\n")[2].partition("```")[0]
    [after] = re.findall(r"`(\./run callfare balance user_123)` says 2,000", section)
    (tmp_path / "run").write_text(f'#!/bin/sh\nshift\nexec {SCRIPT} "$@"\n', encoding="utf-8")
    (tmp_path / "run").chmod(0o700)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "nobody"), "CALLFARE_PORT": str(free_port)}
    begun = commands.replace("8787", str(free_port)).replace(
        "serve --fake-stripe &", "serve --fake-stripe >said 2>&1 &"
    )

    shell = subprocess.Popen(
        ["bash", "-c", f"{begun}\necho; read paid; {after}; kill %1; wait %1"],
        cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        paid(json.loads(shell.stdout.readline())["url"])
        said, _ = shell.communicate("paid\n", timeout=120)

    assert "2,000.00 credits ($20.00)" in said, said
    assert len([line for line in commands.splitlines() if not line.startswith(" ")]) == 3
