"""Capture: wrappers around providers' SDKs that meter each call before and after it is made."""

from callfare.capture.base import Intent, Meter, Ticket
from callfare.capture.openai import wrap

__all__ = ["Intent", "Meter", "Ticket", "wrap"]
