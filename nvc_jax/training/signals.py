"""SIGINT and SIGTERM: a run stops after the step under way, and says so at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def collect_signals(note: Callable[[str], Any]) -> Iterator[list[signal.Signals]]:
    """Collect SIGINT and SIGTERM; the second one of a kind acts as usual.

    Python handles signals between its own instructions, so after a compilation that is running. Its C handler writes
    them to a pipe without that delay, where a thread reads and announces the first one.

    Args:
        note: receives the announcement.
    """
    caught: list[signal.Signals] = []

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(signal.Signals(number))
        signal.signal(number, before[signal.Signals(number)])

    def announce() -> None:
        while (number := os.read(reading, 1)[0]) != 0:
            if number in before:
                name = signal.Signals(number).name
                note(f"{name}: the run stops after the step or compilation under way and exports its model.")
                return

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=announce, daemon=True)
    thread.start()
    try:
        yield caught
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writing, b"\0")
        thread.join()
        os.close(reading)
        os.close(writing)
