"""Stores: where a ledger is kept. Each applies batches of commands in one transaction and answers queries."""
