"""The one who calls a route: who they are by their credential, what they may, and what they sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, HTTPConnection

from callfare.auth.door import Door as Authentication
from callfare.auth.principal import Principal
from callfare.checks import check_user
from callfare.engine.engine import Engine
from callfare.engine.on_behalf import OnBehalf
from callfare.errors import InvalidInput, InvalidUser, KeyRequired, UnsupportedMedia
from callfare.ids import new_id
from callfare.ledger.commands import AuditNote
from callfare.payments.till import Till
from callfare.server.limits import check_depth
from callfare.server.metrics import Metrics
from callfare.server.outer import REQUEST_ID, WHO
from callfare.server.rules import Door, Rule, allow, check_scope
from callfare.store.protocol import Snapshot

if TYPE_CHECKING:
    from starlette.types import Scope

T = TypeVar("T")

_JSON = re.compile(r"application/(?:[a-z.-]+\+)?json(?:\s*;\s*charset=\"?utf-8\"?)?", re.IGNORECASE)
# How the ways are named in which an amount or a quantity may be said.
_WAYS = re.compile(r"int|float|str|constrained-str|literal\[.*\]")
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the routes of one server stand on. audience: whom tokens are for.

    is_local: it listens on the loopback alone. till: buying credits, None where that is not set up.
    """

    engine: Engine
    behalf: OnBehalf
    authentication: Authentication
    metrics: Metrics
    audience: str
    is_local: bool
    till: Till | None = None


class Caller:
    """One call of one route."""

    def __init__(self, request: Request, served: Served, rule: Rule, principal: Principal, operation: str) -> None:
        self._request = request
        self._rule = rule
        self.served = served
        self.engine = served.engine
        self.behalf = served.behalf
        self.principal = principal
        self._operation = operation
        self.request_id: str = request.scope[REQUEST_ID]
        # Looked up with the credential, where the route asks for it.
        self.account: Snapshot | None = None

    def user(self, named: str | None) -> str | None:
        """Return whose rows the call is about: the user it names, or the one its credential is bound to.

        Raises NotFound for a user who is not theirs.
        """
        return allow(self.principal, self._rule, named)

    def one_user(self, named: str | None) -> str:
        """Return the user whom the call is about, whom it has to name where its credential does not.

        Raises InvalidInput, NotFound.
        """
        user = self.user(named)
        if user is None:
            raise InvalidInput("name the user as userId", param="user")
        return user

    def note(self) -> AuditNote:
        """Return what the ledger keeps of who asked for one write."""
        return self.principal.note(self._operation, request_id=self.request_id)

    def path(self, name: str) -> str:
        """Return a part of the path, decoded once.

        Raises InvalidInput.
        """
        try:
            return unquote(self._request.path_params[name], errors="strict")
        except UnicodeDecodeError:
            raise InvalidInput(f"{name} is no UTF-8", param=name) from None

    @property
    def key(self) -> str | None:
        """The Idempotency-Key, None where there is none.

        Raises InvalidInput.
        """
        key = self._request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise InvalidInput("Idempotency-Key has to be 1 to 255 printable ASCII characters", param="key")
        return key

    @property
    def key_or_new(self) -> str:
        """The Idempotency-Key, or one that is made here and told in the answer."""
        return self.key or new_id("key")

    @property
    def required_key(self) -> str:
        """The Idempotency-Key of a call that must not be repeated by accident.

        Raises KeyRequired.
        """
        key = self.key
        if key is None:
            raise KeyRequired("send an Idempotency-Key: a repeat with it gets the first answer", param="key")
        return key

    def header(self, name: str) -> str | None:
        """Return a header of the request, None where there is none."""
        return self._request.headers.get(name)

    @property
    def connection(self) -> HTTPConnection:
        """What the request came with besides its body."""
        return self._request

    @property
    def media_type(self) -> str:
        """The kind of the body, without its parameters."""
        return self._request.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def body(self) -> bytes:
        """Return the body, known to be called JSON and not to nest too deep.

        Raises UnsupportedMedia, InvalidInput, BodyTooLarge.
        """
        kind = self._request.headers.get("content-type", "")
        if not _JSON.fullmatch(kind.strip()):
            shown = kind.encode("ascii", "replace").decode()[:50]
            raise UnsupportedMedia(
                f"the body comes as {shown or 'nothing that has a name'}; send JSON with the header "
                "Content-Type: application/json, as `curl --json` does"
            )
        body = await self.raw_body()
        check_depth(body)
        return body

    async def raw_body(self) -> bytes:
        """Return the body exactly as it came: a signature is about its bytes.

        Raises InvalidInput when whoever sent it has gone before its end, BodyTooLarge.
        """
        try:
            return await self._request.body()
        except ClientDisconnect:
            raise InvalidInput("the body ends before all of it has come", param="body") from None


def read(kind: TypeAdapter[T], body: bytes) -> T:
    """Return a body as one of the wire's models.

    Raises InvalidInput, naming the first thing that is wrong and never its value.
    """
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidInput:
    """Return what is wrong with a body."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    parts, said = [str(part) for part in first["loc"]], first["msg"][:200]
    if len(parts) > 1 and _WAYS.fullmatch(parts[-1]):
        # It may be said in several ways, of which the first is no more wrong than the others.
        del parts[-1]
        said = 'give a whole number or decimal text, such as 18 or "18.5"'
    clean = ".".join(parts).encode("ascii", "replace").decode()[:100]
    return InvalidInput(f"{clean or 'body'}: {said}", param=clean or "body")


async def caller_of(
    request: Request, served: Served, rule: Rule, operation: str, *, has_account: bool = False
) -> Caller:
    """Return who calls a route, known to be allowed to call it.

    has_account: the route is about the account of the user it names, which is looked up with the credential.

    Raises Unauthorized, Forbidden, TooManyAttempts, LedgerUnavailable.
    """
    if rule.door is Door.OPEN or (rule.door is Door.LOCAL and served.is_local):
        return Caller(request, served, rule, NOBODY, operation)
    door, address = served.authentication, _address(request.scope)
    authorization = request.headers.get("authorization")
    account = None
    if has_account:
        user = _named_user(request)
        principal, account = await door.principal_and_account(authorization, address=address, user=user)
    else:
        principal = await door.principal(authorization, address=address)
    request.scope[WHO] = principal.kind if principal.kind != "key" else f"key:{principal.id}"
    check_scope(principal, rule)
    caller = Caller(request, served, rule, principal, operation)
    caller.account = account
    return caller


def _named_user(request: Request) -> str | None:
    """Return the user whom a query names, None where it is none that there can be, which the route then refuses."""
    user = request.query_params.get("userId")
    try:
        return None if user is None else check_user(user)
    except InvalidUser:
        return None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


NOBODY = Principal(kind="nobody", id="", user=None, scopes=frozenset())
