"""Workflows: kinds of runs with what one is expected to cost. The specification's five are known from the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callfare.checks import check_text
from callfare.errors import InvalidAmount, InvalidInput, UnknownWorkflow
from callfare.money import Credits
from callfare.usage.quantities import Quantity

ON_FAILURE = ("charge", "waive")
_NOTHING = Credits(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A kind of call that a workflow makes, between `at_least` and `at_most` times."""

    model: str
    usage: Mapping[str, Quantity]
    attributes: Mapping[str, str]
    at_least: int
    at_most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """What is known of a kind of run: its range in credits, or the parts from which it follows.

    on_failure: "charge" when a failed run pays for what it used, "waive" when the house pays for it.
    """

    name: str
    low: Credits | None
    high: Credits | None
    parts: tuple[Part, ...] = ()
    on_failure: str = "charge"


def check_workflow(workflow: Workflow) -> None:
    """Return for a workflow that can be declared.

    Raises InvalidAmount when its range is negative or upside down, InvalidInput without range and parts.
    """
    check_text(workflow.name, "workflow")
    if workflow.on_failure not in ON_FAILURE:
        raise InvalidInput(f"on_failure must be one of {', '.join(ON_FAILURE)}", param="on_failure")
    low, high = workflow.low, workflow.high
    if not workflow.parts and (low is None or high is None):
        raise InvalidInput(f"workflow {workflow.name} needs low= and high=, or parts=", param="low")
    if min(low or _NOTHING, high or _NOTHING) < _NOTHING or (low is not None and high is not None and high < low):
        raise InvalidAmount(f"workflow {workflow.name} needs 0 <= low <= high", param="low")


# seed/billing.md, Workflow Estimates, in credits of one cent; checked 2026-11-22.
_SEED = (("tweet", 15, 50), ("thread", 20, 75), ("carousel", 50, 200), ("story", 100, 500), ("video", 200, 1000))


class Workflows:
    """The workflows a façade knows."""

    def __init__(self) -> None:
        self._known = {name: Workflow(name=name, low=Credits(low), high=Credits(high)) for name, low, high in _SEED}
        self._declared: set[str] = set()

    def declare(self, workflow: Workflow) -> None:
        """Make a workflow known that `check_workflow` has found sound, in place of an earlier one of its name."""
        self._known[workflow.name] = workflow
        self._declared.add(workflow.name)

    def is_declared(self, name: str) -> bool:
        """Return whether a workflow was declared here, and is not only known from the start."""
        return name in self._declared

    def find(self, name: str) -> Workflow | None:
        """Return a workflow by its name, or None when it is not known."""
        return self._known.get(name)

    def get(self, name: str) -> Workflow:
        """Return a workflow by its name.

        Raises UnknownWorkflow.
        """
        known = self._known.get(name)
        if known is None:
            raise UnknownWorkflow(
                f"workflow {name!r} has no estimate to hold by",
                step=f"pass hold= an amount of credits, or declare it with fare.workflow({name!r}, low=…, high=…)",
                param="workflow",
            )
        return known
