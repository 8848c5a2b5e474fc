"""The ledger: pure decisions about who owes what. No clock, no random, no I/O."""
