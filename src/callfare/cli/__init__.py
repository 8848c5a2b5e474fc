"""The command line: what the façade can do, for people at a terminal and for scripts."""

from callfare.cli.app import app, main

__all__ = ["app", "main"]
