"""Measures points, in this process or in workers, and keeps finished ones."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
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
        check_existing: keep a finished point of the folder if settings and video are the same.
    """

    coder: Coder
    video: Video
    rate_index: int
    folder: Path
    check_existing: bool

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

    def run(self) -> Point:
        """Measure the point.

        Raises:
            NvcError: encoding or decoding fails; a stream may be left behind.
        """
        base = self.folder / self.stem
        files = {
            suffix: base.with_name(base.name + suffix) for suffix in (self.coder.suffix, ".json", ".png") if suffix
        }
        settings = self.coder.settings(self.video, self.qp) | {"frames": self.video.frames}
        source: dict[str, Any] = {
            "hash": _hash_once(self.video.path),
            "size": self.video.size and list(self.video.size),
        }
        if self.video.track is not None:
            source["track"] = self.video.track
        if self.check_existing and source["hash"] is not None and all(path.is_file() for path in files.values()):
            point = read_point(files[".json"])
            if point is not None and (point.get("settings"), point.get("source")) == (settings, source):
                return point | {"rate_idx": self.rate_index}
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
            "qp_i": self.qp,
            "qp_p": self.qp,
            "codec": self.coder.name,
            "stream": self.stem.as_posix() + self.coder.suffix if self.coder.suffix else None,
            "picture": self.stem.as_posix() + ".png",
            "settings": settings,
            "source": source,
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


@functools.cache
def _hash_once(path: Path) -> str | None:
    """Hash of a video, cached for all its points until the next `run_all`."""
    return content_hash(path)


def source_picture(point: Point) -> Path:
    """Path of a point's source picture, relative to the stream folder."""
    return Path("source", point["ds_name"], f"{point['seq']}.png")


def run_all(jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, Point | NvcError]]:
    """Measure all points; a failed point does not stop the others.

    Args:
        jobs: the points.
        workers: processes, spread over the devices; 1 measures in this process.

    Yields:
        Number of a job and its point or error, in order of completion.
    """
    _hash_once.cache_clear()
    if workers == 1:
        prepare_process()
        for number, job in enumerate(jobs):
            yield number, _outcome(job.run)
        return
    spawn = multiprocessing.get_context("spawn")
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the workers may have to share a device
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, _start_worker, (spawn.Value("i"),))
    try:
        futures = {pool.submit(job.run): number for number, job in enumerate(jobs)}
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
        return EvaluationError("not measured: a worker was killed, perhaps for want of memory; try fewer --workers.")
    except Exception as error:
        return EvaluationError(f"not measured: unexpected {type(error).__name__} ({error}).")


def _start_worker(counter: "Synchronized[int]") -> None:
    prepare_process()
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    devices = jax.local_devices()
    jax.config.update("jax_default_device", devices[number % len(devices)])  # type: ignore[no-untyped-call]
