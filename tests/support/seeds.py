"""The one seed that all chance of a test run follows from; the head of the run shows it, and `--seed` repeats it."""

from __future__ import annotations

import secrets

from hypothesis import HealthCheck, settings

# What lands must pass or fail by its own merit, so the default run always draws the same; `--all` hunts for new cases.
LANDING_SEED = 1

chosen = LANDING_SEED


def choose(asked: int | None, *, hunts: bool) -> None:
    """Set the seed of this run: the one asked for, a new one where the run hunts, otherwise the landing's.

    Must come before the tests are imported: they take the seed when they are.
    """
    global chosen  # noqa: PLW0603  # the one place that is written, once, before anybody reads it
    # How long an example takes says how busy the machine is, and nothing of what the test is about.
    patience = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("hunting", patience)
    settings.register_profile("landing", patience, derandomize=True)
    settings.load_profile("landing" if not hunts and asked is None else "hunting")
    chosen = asked if asked is not None else secrets.randbits(32) if hunts else LANDING_SEED
