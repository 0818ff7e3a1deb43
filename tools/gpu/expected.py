"""Make int16 results of the embedded model on a CPU, and check other devices against them."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gpu.kernel_checks import Outcome
from nvc_jax.codec.files import decode_file, encode_file
from nvc_jax.codec.model import Codec
from nvc_jax.codec.report import machine
from nvc_jax.codec.schedule import Schedule
from nvc_jax.demo.sequence import write_demo

_CLIP, _STREAM, _HASHES = "int16.y4m", "int16.nvc", "int16.json"
_SCHEDULE = Schedule(qp=32, intra_qp=32, reset_interval=4)


def make_expected(folder: Path, size: tuple[int, int] = (352, 288), frames: int = 10) -> None:
    """Code a moving picture in int16 and record the hashes of its decoded frames."""
    write_demo(folder / _CLIP, *size, frames)
    codec = Codec.load("embedded", "int16")
    encode_file(codec, folder / _CLIP, folder / _STREAM, _SCHEDULE)
    report = decode_file(codec, folder / _STREAM, folder / "back.y4m", hashes=True)
    (folder / "back.y4m").unlink()
    record = {
        "machine": machine(),
        "strategy": codec.strategy,
        "stream_sha256": _hash(folder / _STREAM),
        "frames_sha256": [frame["sha256"] for frame in report["frames"]],
    }
    (folder / _HASHES).write_text(json.dumps(record, indent=1) + "\n")


def check_expected(folder: Path) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Iterate over the checks against a folder of `make_expected`."""
    expected = json.loads((folder / _HASHES).read_text())

    def decodes() -> Outcome:
        codec = Codec.load("embedded", "int16")
        report = decode_file(codec, folder / _STREAM, _temporary(".y4m"), hashes=True)
        found = [frame["sha256"] for frame in report["frames"]]
        same = sum(a == b for a, b in zip(found, expected["frames_sha256"], strict=False))
        count = len(expected["frames_sha256"])
        return same == count == len(found), f"{same} of {count} pictures as by {expected['machine']['cpu']}"

    def encodes() -> Outcome:
        codec = Codec.load("embedded", "int16")
        ours = Path(_temporary(".nvc"))
        encode_file(codec, folder / _CLIP, ours, _SCHEDULE)
        same = _hash(ours) == expected["stream_sha256"]
        a, b = (np.frombuffer(file.read_bytes(), np.uint8) for file in (ours, folder / _STREAM))
        return same, f"{len(a)} bytes, {'identical' if same else f'not the {len(b)} expected ones'} ({codec.strategy})"

    yield "int16, stream of a CPU decoded by the embedded model", decodes
    yield "int16, source coded by the embedded model", encodes


def _temporary(suffix: str) -> str:
    import tempfile

    return str(Path(tempfile.mkdtemp()) / f"file{suffix}")


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
