"""Where settings come from: arguments, the environment, `.env.local` of the working folder, defaults, in this order.

The library reads the environment alone; `.env.local` is for the command line and the server. Shows no secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from callfare.errors import Misconfigured
from callfare.facade import DEFAULT_URL
from callfare.store.convex_address import ADDRESS_VARIABLES
from callfare.store.open import without_password

ENV_FILE = ".env.local"
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*")
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<text>.*)(?P=quote)\s*(?:#.*)?")
_OURS = ("CALLFARE_", "STRIPE_")
_PUBLIC = re.compile(r"cf_(?:test|live)_[0-9A-Za-z]{8}_")
# The specification's names for a deployment of Convex; `convex://` alone takes its address from them.
_TAKEN = frozenset(ADDRESS_VARIABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its variable, what it is otherwise, and what it means. option: of `callfare serve`, or empty."""

    variable: str
    option: str
    default: str
    meaning: str
    is_secret: bool = False


SETTINGS = (
    Setting(variable="CALLFARE_DATABASE_URL", option="--db", default=DEFAULT_URL, meaning="The ledger."),
    Setting(
        variable="CALLFARE_SPOOL_DIR", option="", default="", meaning="The folder for what the ledger cannot take now."
    ),
    Setting(variable="CALLFARE_API_KEY", option="", default="", meaning="The key for a server.", is_secret=True),
    Setting(
        variable="CALLFARE_CONVEX_SECRET", option="", default="", meaning="The secret of a deployment.", is_secret=True
    ),
    Setting(variable="CALLFARE_CATALOGUE", option="", default="", meaning="The catalogue of prices; none for none."),
    Setting(
        variable="CALLFARE_WORKFLOWS_FILE",
        option="",
        default="",
        meaning="Workflows of your own, with their estimates.",
    ),
    Setting(variable="CALLFARE_HOST", option="--host", default="127.0.0.1", meaning="Where the server listens."),
    Setting(variable="CALLFARE_PORT", option="--port", default="8787", meaning="The port it listens on."),
    Setting(
        variable="CALLFARE_PUBLIC_URL", option="--public-url", default="", meaning="The address people reach it under."
    ),
    Setting(variable="CALLFARE_TLS_CERTIFICATE", option="--tls-certificate", default="", meaning="A file for TLS."),
    Setting(variable="CALLFARE_TLS_KEY", option="--tls-key", default="", meaning="The file with its key."),
    Setting(
        variable="CALLFARE_BEHIND_PROXY",
        option="--behind-proxy",
        default="",
        meaning="1 when a proxy stands before it and does the TLS.",
    ),
    Setting(
        variable="CALLFARE_TRUSTED_PROXIES",
        option="--trusted-proxy",
        default="",
        meaning="Addresses of the proxies before it, parted by commas.",
    ),
    Setting(
        variable="CALLFARE_AUTHORIZATION_SERVERS",
        option="--authorization-server",
        default="",
        meaning="Where users log in for a token, parted by commas.",
    ),
    Setting(variable="STRIPE_SECRET_KEY", option="", default="", meaning="Stripe's secret key.", is_secret=True),
    Setting(
        variable="STRIPE_WEBHOOK_SECRET",
        option="",
        default="",
        meaning="What Stripe's events are signed with; several while one is rolled, parted by commas.",
        is_secret=True,
    ),
    Setting(
        variable="CALLFARE_PACKAGES_FILE", option="", default="", meaning="What is for sale, in place of the seed's."
    ),
    Setting(variable="CALLFARE_CHECKOUT_SUCCESS_URL", option="", default="", meaning="Where a payer comes back to."),
    Setting(
        variable="CALLFARE_CHECKOUT_CANCEL_URL", option="", default="", meaning="Where a payer who turns back comes to."
    ),
    Setting(
        variable="CALLFARE_PORTAL_RETURN_URL", option="", default="", meaning="Where Stripe's portal leads back to."
    ),
    Setting(
        variable="CALLFARE_STRIPE_METHODS",
        option="",
        default="",
        meaning="How payers may pay, such as card,us_bank_account; else as Stripe's dashboard says.",
    ),
    Setting(variable="CALLFARE_STRIPE_TAX", option="", default="", meaning="`on` has Stripe work out taxes."),
    Setting(
        variable="CALLFARE_STRIPE_API_URL",
        option="",
        default="",
        meaning="A stand-in for Stripe; a test key only.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a setting is, and where that comes from: argument, environment, `.env.local` or default."""

    variable: str
    value: str
    source: str
    meaning: str


def read_env_file(file: Path) -> dict[str, str]:
    """Return our settings from a file of NAME=VALUE lines; none when there is no such file.

    Raises Misconfigured for a file that cannot be read, and a line of ours that cannot be understood.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        parts = _LINE.fullmatch(line)
        if parts is None and line.strip().startswith(_OURS):
            raise Misconfigured(f"{file}, line {number}, is not NAME=VALUE")
        if parts is not None and (parts["name"].startswith(_OURS) or parts["name"] in _TAKEN):
            found[parts["name"]] = _unquoted(parts["value"])
    return found


def _unquoted(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    return quoted["text"] if quoted else re.split(r"\s#", value, maxsplit=1)[0].rstrip()


@contextmanager
def env_file(folder: Path | None = None) -> Iterator[None]:
    """Take the settings of a folder's `.env.local` into the environment for as long as the block lasts.

    What the environment says already stands. Raises Misconfigured.
    """
    added = {
        name: value
        for name, value in read_env_file((folder or Path()) / ENV_FILE).items()
        if name not in os.environ and "\0" not in value
    }
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def value_of(variable: str, argument: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Return what a setting is: the argument, else the variable, else its default."""
    default = next(setting.default for setting in SETTINGS if setting.variable == variable)
    return argument if argument is not None else environment.get(variable) or default


def settings_found(arguments: Mapping[str, str | None], folder: Path | None = None) -> tuple[Found, ...]:
    """Return every setting with where it comes from, secrets masked. arguments: by variable, None where not given."""
    from_file = read_env_file((folder or Path()) / ENV_FILE)
    return tuple(_found(setting, arguments.get(setting.variable), from_file) for setting in SETTINGS)


def _found(setting: Setting, argument: str | None, from_file: Mapping[str, str]) -> Found:
    variable = setting.variable
    in_environment = os.environ.get(variable)
    if argument is not None:
        value, source = argument, "argument"
    elif in_environment and in_environment != from_file.get(variable):
        value, source = in_environment, "environment"
    elif from_file.get(variable):
        value, source = from_file[variable], ENV_FILE
    else:
        value, source = setting.default, "default"
    shown = masked_key(value) if setting.is_secret else masked(value)
    return Found(variable=variable, value=shown, source=source, meaning=setting.meaning)


def masked_key(value: str) -> str:
    """Return what may be shown of a key: its public id where it has one, and nothing of any other secret."""
    public = _PUBLIC.match(value)
    return f"{public[0]}…" if public else "…" if value else ""


def masked(value: str) -> str:
    """Return a value without the password of its address."""
    return without_password(value) if "://" in value else value
