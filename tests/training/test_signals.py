"""Signals of a run."""

import hashlib
import os
import signal
import subprocess
import sys
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
    assert len(notes) == 1
    assert notes[0][0].startswith("SIGINT: the run stops after the step or compilation under way and exports its model")
    assert notes[0][1] == []
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_signal_ends_a_process_that_python_does_not_reach():
    program = """
import hashlib, os, signal, threading
from nvc_jax.training import signals
signals._GRACE_S = 0.1
def twice(text):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
with signals.collect_signals(twice):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert done.returncode == 128 + signal.SIGINT
