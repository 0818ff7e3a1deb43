"""Signals of a run."""

import hashlib
import os
import signal
import threading

from nvc_jax.training.signals import collect_signals


def test_signals_are_announced_before_python_handles_them():
    """The main thread stays in C code for about a second, as in a compilation."""
    notes = []
    before = signal.getsignal(signal.SIGINT)
    with collect_signals(lambda text: notes.append((text, list(caught)))) as caught:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 4_000_000)
        timer.join()
    assert caught == [signal.SIGINT]
    assert notes == [("SIGINT: the run stops after the step or compilation under way and exports its model.", [])]
    assert signal.getsignal(signal.SIGINT) == before
