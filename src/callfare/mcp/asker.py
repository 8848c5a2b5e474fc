"""Who asks, under the rule of what they ask for: those of the HTTP routes, whichever transport brings a question."""

from __future__ import annotations

from dataclasses import dataclass

from callfare.auth.principal import Principal
from callfare.errors import Forbidden, InvalidInput
from callfare.server.rules import Door, Rule, allow, check_scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks for one thing."""

    principal: Principal
    rule: Rule

    def check(self) -> None:
        """Return when they may ask for it at all.

        Raises Forbidden.
        """
        if self.rule.door is not Door.OPEN:
            check_scope(self.principal, self.rule)

    @property
    def may(self) -> bool:
        """Whether they may ask for it at all."""
        try:
            self.check()
        except Forbidden:
            return False
        return True

    def user(self, named: str | None) -> str | None:
        """Return whom the answer is about: the one named, else the one they are bound to, None for nobody.

        Raises Forbidden, and NotFound for a user who is not theirs, whether or not there is one.
        """
        return allow(self.principal, self.rule, named)

    def one_user(self, named: str | None) -> str:
        """Return whom the answer is about, who has to be named where they are bound to nobody.

        Raises Forbidden, NotFound, InvalidInput.
        """
        user = self.user(named)
        if user is None:
            raise InvalidInput("name the user as user_id", param="user_id")
        return user
