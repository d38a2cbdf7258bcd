"""`latentsync view` in this process, for a page in the browser."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from latentsync.lab.serving import start

WAIT_S = 30


@contextmanager
def served(runs, *flags: str) -> Iterator[str]:
    """The link to a server of a runs folder, with what it may write, which ends with the block."""
    servers, links, build = [], [], start._Server.__init__

    def built(self, *rest):
        servers.append(self)
        build(self, *rest)

    start._Server.__init__ = built
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serving = threading.Thread(target=start.view, args=(runs, None, port, links.append, False, flags))
    serving.start()
    try:
        ends = time.monotonic() + WAIT_S
        while not links and time.monotonic() < ends:
            time.sleep(0.02)
        yield links[0]
    finally:
        start._Server.__init__ = build
        servers[0].should_exit = True
        serving.join(WAIT_S)
