"""Stands in for a darkroom process stuck in the kernel: it answers nothing, and its lock is still held after SIGKILL."""

import os
import sys
import time
from pathlib import Path

from cupola.process.wire import Link
from cupola.storage.space import Lock

if __name__ == "__main__":
    link = Link.from_argv(sys.argv)
    received = link.receive()
    assert received is not None
    lock = Lock(Path(received[0]["lock"]))
    assert lock.acquire()
    if (child := os.fork()) == 0:  # shares the lock
        for descriptor in (2, int(sys.argv[-1].partition("=")[2])):
            os.close(descriptor)
        time.sleep(120)
        os._exit(0)
    link.send({"type": "log", "level": "INFO", "event": "capture", "message": f"keeper {child}"})
    time.sleep(120)
