"""Write mp4, mkv, mov and webm through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import av
from av.video.codeccontext import VideoCodecContext

from nvc_jax.errors import OutputError, VideoError
from nvc_jax.io.files import PathLike, atomic_output
from nvc_jax.video.frame import VideoInfo, YuvFrame
from nvc_jax.video.layouts import UNSPECIFIED, pixels, reason_of
from nvc_jax.video.stream import VideoWriter

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_RANGE_CODE = {None: 0, False: 1, True: 2}


class ContainerWriter(VideoWriter):
    """Writes mp4, mkv, mov and webm, visually lossless.

    H.264 codes 4:2:0 in even sizes only, so odd sizes (and webm) are coded with VP9, which keeps size and
    chroma; mov cannot hold VP9.
    """

    def __init__(self, path: PathLike, info: VideoInfo) -> None:
        super().__init__(os.fspath(path), info)
        suffix = Path(path).suffix.lower()
        even = info.width % 2 == 0 and info.height % 2 == 0
        if suffix == ".mov" and not even:
            raise VideoError(f"{path}: .mov holds even sizes only, not {info.width}x{info.height}; use .mp4")
        self._file = _FirstError(self._resources.enter_context(atomic_output(path)))
        try:
            self._sink = av.open(self._file, "w", format=FORMATS[suffix])
            self._resources.callback(self._close)
            if even and suffix != ".webm":
                options = {"crf": "12", "preset": "fast"}
                if self.colour.chroma_location is not None:
                    options["chroma_sample_location"] = self.colour.chroma_location
                self._stream = self._sink.add_stream("libx264", rate=info.fps, options=options)
            else:
                options = {"crf": "12", "b:v": "0", "cpu-used": "4", "row-mt": "1"}
                self._stream = self._sink.add_stream("libvpx-vp9", rate=info.fps, options=options)
            self._set_up(self._stream.codec_context)
        except BaseException as error:
            with suppress(OSError):
                self._resources.__exit__(type(error), error, error.__traceback__)
            if isinstance(error, av.FFmpegError | OverflowError | ValueError):
                raise OutputError(f"{self.name}: cannot set up the encoder ({error})") from None
            raise

    def _set_up(self, context: VideoCodecContext) -> None:
        context.width, context.height, context.pix_fmt = self.info.width, self.info.height, "yuv420p"
        context.color_range = _RANGE_CODE[self.colour.full_range]
        context.color_primaries = self.colour.primaries or UNSPECIFIED
        context.color_trc = self.colour.transfer or UNSPECIFIED
        context.colorspace = self.colour.matrix or UNSPECIFIED

    def _close(self) -> None:
        with self._translated():
            self._sink.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise OutputError(f"{self.name}: cannot write frame {self.count} ({reason_of(error)})") from None
        self._file.check()

    def _write_yuv(self, frame: YuvFrame) -> None:
        picture = av.VideoFrame(self.info.width, self.info.height, "yuv420p")
        for plane, values in zip(picture.planes, (frame.y, frame.u, frame.v), strict=True):
            pixels(plane)[:] = values
        picture.pts = self.count
        picture.time_base = 1 / self.info.fps
        self._encode(picture)

    def _finish(self) -> None:
        self._encode(None)

    def _encode(self, picture: av.VideoFrame | None) -> None:
        with self._translated():
            self._sink.mux(self._stream.encode(picture))


class _FirstError:
    """File object for FFmpeg that keeps the first write error for `check`, as FFmpeg drops it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OutputError | None = None
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                return self._file.write(data)
            except OutputError as error:
                self._error = error
        return len(data)

    def check(self) -> None:
        if self._error is not None:
            raise self._error
