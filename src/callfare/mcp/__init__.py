"""The ledger for AI assistants: five tools that read it, with resources and prompts, over stdio and HTTP."""
