"""Start the stand-in on the loopback address: `python -m callfare.devtools.fake_stripe --port 8082`."""

from __future__ import annotations

import argparse
import socket
import sys
import threading

import uvicorn

from callfare.devtools.fake_stripe.app import application
from callfare.devtools.fake_stripe.standin import Standin
from callfare.devtools.stand_in import no_port


def main(arguments: list[str] | None = None) -> None:
    """Serve on a port of the loopback address until interrupted."""
    parser = argparse.ArgumentParser(prog="fake_stripe", description="A stand-in for Stripe on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8082, help="0 takes a free one")
    parser.add_argument("--seed", help="the same seed makes the same ids in the same order")
    parser.add_argument(
        "--while-read", action="store_true", help="stop when standard input ends, as when its writer does"
    )
    told = parser.parse_args(arguments)
    try:
        listening = socket.create_server(("127.0.0.1", told.port))
    except (OSError, OverflowError) as error:
        parser.error(no_port(told.port, error))
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    standin = Standin(base_url, seed=told.seed)
    server = uvicorn.Server(uvicorn.Config(application(standin), log_level="warning", timeout_graceful_shutdown=1))
    if told.while_read:
        threading.Thread(target=_stop_at_end, args=(server,), daemon=True).start()
    try:
        print(f"The stand-in for Stripe listens at {base_url}; stop it with Ctrl-C.", flush=True)
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        print(f"It answered {len(standin.api.requests)} requests.")


def _stop_at_end(server: uvicorn.Server) -> None:
    """Stop a server when nobody holds the other end of standard input any more, whatever ended them."""
    sys.stdin.buffer.read()
    server.should_exit = True


if __name__ == "__main__":
    main()
