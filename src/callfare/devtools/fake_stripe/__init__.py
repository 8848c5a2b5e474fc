"""A stand-in for Stripe in a process of its own: real SDK, real command-line tool, no key, no network."""
