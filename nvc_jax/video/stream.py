"""The video reader, and the base class of video writers."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from types import TracebackType

from nvc_jax.errors import VideoError
from nvc_jax.io.files import reason
from nvc_jax.video.colour import coded_colour, rgb_to_yuv
from nvc_jax.video.frame import Findings, Frame, RgbFrame, VideoInfo, YuvFrame, check_frame
from nvc_jax.video.timeline import TrackIndex


class VideoReader:
    """An open video: a context manager that yields its frames once, in order, one at a time."""

    def __init__(
        self,
        name: str,
        info: VideoInfo,
        frames: Iterator[Frame],
        resources: ExitStack,
        seek: Callable[[int], Iterator[Frame]] | None = None,
        findings: Findings | None = None,
        index: TrackIndex | None = None,
    ) -> None:
        """Take over an open video.

        Args:
            name: for messages.
            info: metadata known before the first frame.
            frames: all frames.
            resources: closed with the reader.
            seek: iterates over the frames from a number on.
            findings: updated while frames are read.
            index: lets the file be reopened without scanning it.
        """
        self.name = name
        self.info = info
        self.count = 0  # frames read so far
        self._frames = frames
        self._resources = resources
        self._seek = seek
        self.findings = findings or Findings()
        self.index = index

    def skip(self, frames: int) -> None:
        """Start at a later frame, before any is read; containers seek to the key frame before it."""
        if frames and self._seek:
            self._frames = self._seek(frames)
        else:
            self._frames = islice(self._frames, frames, None)

    def limit(self, frames: int | None) -> VideoReader:
        """Stop after this many frames; None is no limit."""
        if frames is not None:
            if frames < 1:
                raise VideoError(f"{self.name}: cannot read {frames} frames; ask for at least one")
            frames = min(frames, sys.maxsize)
            known = self.info.frames
            self.info = replace(self.info, frames=known if known is None else min(known, frames))
            self._frames = islice(self._frames, frames)
        return self

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        try:
            frame = next(self._frames)
        except StopIteration:
            if not self.count:
                raise VideoError(f"{self.name}: holds no frames") from None
            raise
        except OSError as error:
            raise VideoError(f"{self.name}: cannot read frame {self.count} ({reason(error)})") from None
        self.count += 1
        return frame

    def close(self) -> None:
        """Release the file. A second call does nothing."""
        self._frames = iter(())
        self._resources.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoWriter(ABC):
    """An output that takes its name only when the `with` block ends without an exception.

    Frames of either kind are accepted and converted to what the format holds: YUV to RGB by the colour
    description, RGB to YUV as BT.709 full range, the conversion the codecs are trained on.
    """

    takes_rgb = False  # RGB frames need no conversion

    def __init__(self, name: str, info: VideoInfo) -> None:
        self.name = name
        self.info = info
        self.colour = coded_colour(info)  # of YUV frames, written or read
        self.count = 0  # frames written so far
        self.notes: list[str] = []  # sentences for the user about metadata that the format loses
        self._resources = ExitStack()

    @abstractmethod
    def _write_yuv(self, frame: YuvFrame) -> None:
        """Append one frame of the right size."""

    def _write_rgb(self, frame: RgbFrame) -> None:
        self._write_yuv(rgb_to_yuv(frame, self.colour))

    def _finish(self) -> None:  # noqa: B027  (most formats need nothing)
        """Finish the output after the last frame."""

    def write(self, frame: Frame) -> None:
        """Append one frame.

        Raises:
            VideoError: the frame does not fit the video.
            OutputError: the frame cannot be written.
        """
        check_frame(frame, self.info.width, self.info.height, f"{self.name}: frame {self.count}")
        if isinstance(frame, RgbFrame):
            self._write_rgb(frame)
        else:
            self._write_yuv(frame)
        self.count += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._resources.__exit__(kind, error, trace)
            return
        with self._resources:
            if not self.count:
                raise VideoError(f"{self.name}: no frame was written")
            self._finish()
