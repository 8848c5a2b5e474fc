"""Payments put together for an open ledger, as the environment sets them up. Loads Stripe's SDK where it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callfare.errors import Misconfigured
from callfare.payments.config import PaymentConfig, read_config
from callfare.payments.desk import Desk, Ledger
from callfare.payments.packages import ForSale

if TYPE_CHECKING:
    from callfare.payments.till import Till

# Where a server answers unless it is told otherwise: a payer comes back there.
HERE = "http://127.0.0.1:8787"


def open_till(
    ledger: Ledger, for_sale: ForSale, public_url: str | None = None, *, config: PaymentConfig | None = None
) -> Till | None:
    """Return payments for a ledger, None where no key is set.

    public_url: the server's address, for the pages a payer comes back to; this machine's when None.
    config: how payments are set up; as the environment says when None.

    Raises Misconfigured.
    """
    config = config or read_config(public_url or HERE)
    if config is None:
        return None
    try:
        # Who sells nothing need not have what selling takes.
        from callfare.payments.stripe import StripeGateway  # noqa: PLC0415
        from callfare.payments.till import Till  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Misconfigured(f"payments need more packages: pip install 'callfare[server]' ({error.name})") from None
    return Till(Desk(ledger, StripeGateway(config.secret_key, api_url=config.api_url), config, for_sale))
