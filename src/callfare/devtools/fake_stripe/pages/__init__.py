"""The hosted pages: Checkout, the payer's bank, the customer portal, and invoices."""
