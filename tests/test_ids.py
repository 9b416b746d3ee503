"""Ids differ between threads, processes and forks, and grow with time."""

from __future__ import annotations

import os
import threading

from xingyue.ids import unique_hex


def test_threads_never_make_the_same():
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into):
        into += [unique_hex() for _ in range(5_000)]

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for into in made for each in into}) == 20_000
    assert {len(each) for into in made for each in into} == {34}
    first, second = unique_hex(), unique_hex()
    assert first < second


def test_a_fork_draws_anew():
    ours = unique_hex()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, unique_hex().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        theirs = answer.read()
    os.waitpid(child, 0)
    assert theirs[16:28] != ours[16:28] == unique_hex()[16:28]
