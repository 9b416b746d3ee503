"""Runs one command and ends it when the process that asked for it is gone, even by ``kill -9``.

``python guard.py GRACE_S COMMAND...`` with a pipe as standard input: the owner holds the writing
end, so end-of-file says that the owner has left. The command then gets SIGTERM and, after
``GRACE_S`` seconds, SIGKILL; the same on SIGTERM to the guard. On Linux the command is killed
if the guard itself is. The first line on standard output is the command's process
id. Run as a file, with the standard library alone: it imports nothing of ours, so it stays small.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    grace_s, command = float(arguments[0]), arguments[1:]
    leave = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        leave.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # close_fds=False: the command inherits the lock of the data folder, and holds it to its end.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        close_fds=False,
        preexec_fn=_die_with_parent,
    )
    print(child.pid, flush=True)

    def watch_owner() -> None:
        while os.read(0, 64):
            pass
        leave.set()

    def watch_child() -> None:
        child.wait()
        leave.set()

    for watch in (watch_owner, watch_child):
        threading.Thread(target=watch, daemon=True).start()
    leave.wait()
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


if __name__ == "__main__":
    # Left at once: the watching thread may sit in a read that the interpreter would wait for.
    status = main(sys.argv[1:])
    os._exit(status if status >= 0 else 128 - status)
