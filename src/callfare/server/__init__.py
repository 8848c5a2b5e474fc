"""The HTTP server: every operation of a ledger over one port. Holds no rule of the business; see README.md."""
