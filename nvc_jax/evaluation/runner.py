"""Measures points, in this process or in workers, and keeps finished ones."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import jax

from nvc_jax.codec.report import machine, versions
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.errors import EvaluationError, NvcError
from nvc_jax.evaluation.coders import Coder
from nvc_jax.evaluation.results import Point, read_point, summarise, write_json
from nvc_jax.evaluation.sequences import Video, content_hash
from nvc_jax.io.files import make_folder
from nvc_jax.video import write_png


@dataclasses.dataclass(frozen=True)
class Job:
    """One point to measure.

    Attributes:
        coder: under test.
        video: source.
        rate_index: of the qp among the coder's.
        folder: of streams, points and pictures.
    """

    coder: Coder
    video: Video
    rate_index: int
    folder: Path

    @property
    def qp(self) -> int:
        """Base qp, or quantiser of a baseline."""
        return self.coder.qps[self.rate_index]

    @property
    def stem(self) -> Path:
        """Path of stream, point and picture, without suffix and relative to the folder."""
        return Path(self.coder.name, self.video.dataset, f"{self.video.name}_q{self.qp}")

    def __str__(self) -> str:
        return f"{self.coder.name}: {self.video}, qp {self.qp}"

    def existing(self) -> Point | None:
        """Read the point, where the folder has it with the same settings and video, and stream and picture."""
        source = self._source()
        if source["hash"] is None or not all(path.is_file() for path in self._files().values()):
            return None
        point = read_point(self._files()[".json"])
        if point is None or (point.get("settings"), point.get("source")) != (self._settings(), source):
            return None
        return point | {"rate_idx": self.rate_index}

    def run(self) -> Point:
        """Measure the point.

        Raises:
            NvcError: encoding or decoding fails; a stream may be left behind.
        """
        base, files = self.folder / self.stem, self._files()
        make_folder(base.parent)
        start = time.perf_counter()
        measured = self.coder.measure(self.video, self.qp, base.with_name(base.name + self.coder.suffix))
        point = summarise(measured.frames, measured.pixels, time.perf_counter() - start)
        if measured.encode_s is not None and measured.decode_s is not None:
            point |= {"avg_frame_encoding_time": measured.encode_s, "avg_frame_decoding_time": measured.decode_s}
        point |= {
            "ds_name": self.video.dataset,
            "seq": self.video.name,
            "rate_idx": self.rate_index,
            "qp_i": self.coder.intra_qp(self.qp),
            "qp_p": self.qp,
            "codec": self.coder.name,
            "stream": self.stem.as_posix() + self.coder.suffix if self.coder.suffix else None,
            "picture": self.stem.as_posix() + ".png",
            "settings": self._settings(),
            "source": self._source(),
            "machine": machine(),
            "versions": versions(),
        }
        original, decoded = measured.pictures
        shown = self.folder / source_picture(point)
        make_folder(shown.parent)
        write_png(shown, original.rgb)
        write_png(files[".png"], decoded.rgb)
        write_json(files[".json"], point)
        return point

    def _files(self) -> dict[str, Path]:
        """Name the files of stream, point and picture, by suffix."""
        base = self.folder / self.stem
        return {suffix: base.with_name(base.name + suffix) for suffix in (self.coder.suffix, ".json", ".png") if suffix}

    def _settings(self) -> dict[str, Any]:
        return self.coder.settings(self.video, self.qp) | {"frames": self.video.frames}

    def _source(self) -> dict[str, Any]:
        track = {} if self.video.track is None else {"track": self.video.track}
        return {"hash": _hash_once(self.video.path), "size": self.video.size and list(self.video.size)} | track


def find_existing(jobs: Mapping[int, Job]) -> dict[int, Point]:
    """Read the points that their folders have, by number of the job."""
    _hash_once.cache_clear()
    found = {number: job.existing() for number, job in jobs.items()}
    return {number: point for number, point in found.items() if point is not None}


@functools.cache
def _hash_once(path: Path) -> str | None:
    """Hash a video, cached for all its points until the next `find_existing` or `run_all`."""
    return content_hash(path)


def source_picture(point: Point) -> Path:
    """Path of a point's source picture, relative to the stream folder."""
    return Path("source", point["ds_name"], f"{point['seq']}.png")


def run_all(jobs: Mapping[int, Job], workers: int) -> Iterator[tuple[int, Point | NvcError]]:
    """Measure all points; a failed point does not stop the others.

    Args:
        jobs: the points by number.
        workers: processes, spread over the devices; 1 measures in this process.

    Yields:
        Number of a job and its point or error, in order of completion.
    """
    _hash_once.cache_clear()
    if workers == 1:
        prepare_process()
        for number, job in jobs.items():
            yield number, _outcome(job.run)
        return
    spawn = multiprocessing.get_context("spawn")
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the workers may have to share a device
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, _start_worker, (spawn.Value("i"),))
    try:
        futures = {pool.submit(job.run): number for number, job in jobs.items()}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], _outcome(future.result)
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(measure: Callable[[], Point]) -> Point | NvcError:
    try:
        return measure()
    except NvcError as error:
        return error
    except BrokenProcessPool:
        return EvaluationError("not measured: a worker was killed, perhaps for want of memory; try fewer `workers`.")
    except Exception as error:
        return EvaluationError(f"not measured: unexpected {type(error).__name__} ({error}).")


def _start_worker(counter: "Synchronized[int]") -> None:
    prepare_process()
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    devices = jax.local_devices()
    jax.config.update("jax_default_device", devices[number % len(devices)])  # type: ignore[no-untyped-call]
