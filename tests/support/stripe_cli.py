"""Stripe's own command-line tool, from npm into a folder of this user, where tests find it from then on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

VERSION = "1.52.0"
_INSTALL_S_MAX = 300
# The events that callfare listens to or has decided not to, of which the tool has a script.
LISTENED_TO = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "payment_intent.processing",
    "payment_intent.canceled",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.trial_will_end",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
    "customer.updated",
    "customer.deleted",
    "payment_method.detached",
    "setup_intent.succeeded",
    "setup_intent.setup_failed",
)


@cache
def program() -> Path:
    """Return where the tool is; CALLFARE_STRIPE_CLI names one that is there already. Skip when there is none."""
    named = os.environ.get("CALLFARE_STRIPE_CLI")
    if named:
        return Path(named)
    folder = Path(tempfile.gettempdir()) / f"callfare-stripe-cli-{VERSION}-{os.getuid()}"
    kind = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    found = folder / "node_modules" / "@stripe" / f"cli-linux-{kind}" / "bin" / "stripe"
    if not found.exists():
        _install(folder)
    if not found.exists():
        pytest.skip(f"npm has no @stripe/cli for {platform.machine()}")
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to somebody else"
    return found


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm found to install @stripe/cli with")
    staging = Path(tempfile.mkdtemp(prefix="callfare-stripe-cli-"))
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error")
    command = [npm, "install", *options, "--prefix", staging, f"@stripe/cli@{VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S_MAX, check=False)
    if done.returncode != 0:
        shutil.rmtree(staging)
        pytest.skip(f"npm could not install @stripe/cli: {done.stderr[-300:]}")
    try:
        staging.rename(folder)
    except OSError:
        shutil.rmtree(staging)


def trigger(event: str, base_url: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run Stripe's script of an event against a server. home: a folder for what the tool keeps."""
    command = [program(), "trigger", event, "--api-base", base_url, "--api-key", "sk_test_1234567890abcdef"]
    # Its telemetry reaches nobody from here, and has ended a run that had succeeded with a panic.
    quiet = {"STRIPE_CLI_TELEMETRY_OPTOUT": "1"}
    environment = {**os.environ, **quiet, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
