"""SIGINT and SIGTERM: a run stops after the step under way, and says so at once."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_GRACE_S = 3.0  # that Python has for the second one


@contextmanager
def collect_signals(note: Callable[[str], Any]) -> Iterator[list[signal.Signals]]:
    """Collect SIGINT and SIGTERM; the second one of a kind acts as usual, and ends the process where it cannot.

    Python handles signals between its own instructions, so after a step or compilation that is running. Its C handler
    writes them to a pipe without that delay, where a thread reads them: it announces the first one, and ends the
    process some time after the second one. A run that ends so goes on from its last checkpoint.

    Args:
        note: receives the announcement.
    """
    caught: list[signal.Signals] = []
    announced: set[str] = set()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(signal.Signals(number))
        signal.signal(number, before[signal.Signals(number)])

    def announce() -> None:
        while (number := os.read(reading, 1)[0]) != 0:
            if number not in before:
                continue
            name = signal.Signals(number).name
            if name not in announced:
                announced.add(name)
                note(
                    f"{name}: the run stops after the step or compilation under way and exports its model; a second "
                    f"{name} ends it at once."
                )
            elif not select.select([reading], [], [], _GRACE_S)[0]:
                os._exit(128 + number)

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
