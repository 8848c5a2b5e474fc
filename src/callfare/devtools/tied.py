"""The command line as a child that ends with its parent: `python -m callfare.devtools.tied serve …`.

It gets SIGTERM, and so stops in order, when nobody holds the other end of its standard input any more,
whatever ended them, `kill -9` included.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from callfare.cli.app import main


def _stop_at_end() -> None:
    """Have this process stopped in order once its standard input has ended."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_at_end, daemon=True).start()
    main()
