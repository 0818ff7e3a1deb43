"""Helpers of the tests of the command line, besides fixtures."""

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nvc_jax.video import open_video

WIDTH, HEIGHT, FRAMES = 32, 48, 5  # of the clip; padded as 17x33 is, so that both share compiled programs


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command line."""

    code: int
    out: str
    err: str

    def json(self):
        """The one object on standard output."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    def refusal(self):
        """The sentence of a command line that did nothing, after notes and progress."""
        *before, sentence = self.err.splitlines()
        assert self.code == 1, self
        assert all(line.startswith(("note: ", "encode: frame", "decode: frame")) for line in before), self.err
        assert sentence.startswith("nvc-jax: "), self.err
        assert sentence.endswith((".", "?")), self.err
        assert not self.out
        return sentence.removeprefix("nvc-jax: ")


def listing(folder):
    """All that lies in a folder, hidden files too, with its contents."""
    found = {}
    for parent, folders, names in os.walk(folder):
        found |= {os.path.join(parent, name): None for name in folders}
        found |= {path: Path(path).read_bytes() for path in (os.path.join(parent, name) for name in names)}
    return found


@contextmanager
def unchanged(folder):
    """Check that the block leaves nothing behind and takes nothing away."""
    before = listing(folder)
    yield
    assert listing(folder) == before


def planes(path, **options):
    """The bytes of every frame of a video."""
    with open_video(path, **options) as reader:
        return [frame.tobytes() for frame in reader]


def hashes(report):
    """The hash of every frame in a report."""
    return [frame["sha256"] for frame in report["frames"]]


def read_report(path):
    """A report file."""
    return json.loads(Path(path).read_text())


def wait_for(condition, seconds=60):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
