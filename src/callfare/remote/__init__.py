"""The façade's engine where the ledger is behind a server: `https://…` in the place of a database's address."""
