"""The address of a Convex deployment: convex://happy-animal-123.convex.cloud, or convex:// for the one that is set.

The secret of its door is `CALLFARE_CONVEX_SECRET`, or the password in the address. What is on this machine is spoken to
in the clear, everything else through TLS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from callfare.errors import Misconfigured
from callfare.store.convex_http import Deployment

SECRET_VARIABLE = "CALLFARE_CONVEX_SECRET"  # noqa: S105 - the name of the variable, not what is in it
# The specification's names for where the deployment is. They alone never make anything a ledger.
ADDRESS_VARIABLES = ("CONVEX_URL", "NEXT_PUBLIC_CONVEX_URL")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_EXAMPLE = "convex://happy-animal-123.convex.cloud"


def deployment_of(parts: SplitResult, environment: Mapping[str, str] = os.environ) -> Deployment:
    """Return the deployment that an address names. Raises Misconfigured where it names none, or no secret is there."""
    is_secure: bool | None = None
    secret = unquote(parts.password or "") or environment.get(SECRET_VARIABLE, "")
    if not parts.hostname:
        parts = _from(environment)
        is_secure = parts.scheme == "https"
    if not parts.hostname:
        raise Misconfigured(f"the address names no deployment; use one such as {_EXAMPLE}", param="url")
    try:
        port = parts.port
    except ValueError:
        raise Misconfigured("the address has no such port; give a number up to 65535", param="url") from None
    if not secret or not secret.isprintable():
        raise Misconfigured(
            f"the deployment opens its ledger to a secret; set {SECRET_VARIABLE} as it was set there with "
            f"`npx convex env set {SECRET_VARIABLE} …`",
            param="url",
        )
    return Deployment(
        host=parts.hostname,
        port=port,
        path=parts.path.rstrip("/"),
        is_secure=parts.hostname not in _LOOPBACK if is_secure is None else is_secure,
        secret=secret,
    )


def named_address(parts: SplitResult, environment: Mapping[str, str] = os.environ) -> str:
    """Return an address with nothing in it but what tells deployments apart. Raises Misconfigured for none."""
    found = parts if parts.hostname else _from(environment)
    return f"convex://{found.netloc.rpartition('@')[2]}{found.path.rstrip('/')}"


def _from(environment: Mapping[str, str]) -> SplitResult:
    """Return the address that the environment has. Raises Misconfigured for none, and for what is none."""
    for variable in ADDRESS_VARIABLES:
        text = environment.get(variable, "")
        if not text:
            continue
        try:
            parts = urlsplit(text)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme in {"http", "https"} and parts.hostname and text.isprintable():
            return parts
        raise Misconfigured(
            f"{variable} is no address of a deployment; it is like https://happy-animal-123.convex.cloud"
        )
    raise Misconfigured(
        f"convex:// takes its address from {' or '.join(ADDRESS_VARIABLES)}, and neither is set; use {_EXAMPLE}",
        param="url",
    )
