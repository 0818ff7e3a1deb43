"""Conventional encoders through PyAV in low-delay configuration: one intra frame, then inter frames from the past only.

All use a constant quantiser, no lookahead, one thread (deterministic streams) and PSNR tuning instead of psychovisual
optimisation. All options are below and in every result.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation.coders import Measured, check_count, open_source, viewable
from nvc_jax.evaluation.metrics import frame_quality
from nvc_jax.evaluation.results import FrameResult
from nvc_jax.evaluation.sequences import Video
from nvc_jax.io.files import atomic_output
from nvc_jax.io.timing import Timer
from nvc_jax.video import Frame, VideoReader, YuvFrame, open_video

_ENDLESS = 99999  # frames from one intra frame to the next
_LAMBDA_PER_QP = 118  # FF_QP2LAMBDA


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A conventional encoder at fixed settings.

    Attributes:
        name: in results.
        encoder: FFmpeg's name.
        format: FFmpeg's muxer, also the suffix of streams.
        qps: quantisers, from low to high rate.
        options: of FFmpeg; {qp}, {lambda_} (in FFmpeg's unit) and {keyint} are filled in.
        payload_bytes: bytes of the coded picture in a packet.
    """

    name: str
    encoder: str
    format: str
    qps: tuple[int, ...]
    options: dict[str, str]
    payload_bytes: Callable[[bytes], int]

    @property
    def suffix(self) -> str:
        """File name extension of streams."""
        return f".{self.format}"

    def intra_qp(self, qp: int) -> float:
        """Return the quantiser that the encoder is given; some lower it for key frames."""
        return qp

    def settings(self, sequence: Video, qp: int) -> dict[str, Any]:
        """Encoder and options."""
        return {"encoder": self.encoder, "options": self._options(sequence, qp)}

    def _options(self, sequence: Video, qp: int) -> dict[str, str]:
        keyint = _ENDLESS if sequence.intra_period < 0 else sequence.intra_period
        values = {"qp": qp, "lambda_": _LAMBDA_PER_QP * qp, "keyint": keyint}
        return {key: value.format(**values) for key, value in self.options.items()}

    def measure(self, sequence: Video, qp: int, stream: Path) -> Measured:
        """See `Coder`."""
        if self.encoder not in av.codecs_available:
            raise EvaluationError(f"the FFmpeg of this PyAV has no {self.encoder}; install another wheel of av.")
        encoding, decoding = Timer(), Timer()
        with open_source(sequence) as source:
            packets = self._encode(source, sequence, qp, stream, encoding)
            count = source.count
        if len(packets) != count:
            raise EvaluationError(f"{self.encoder} made {len(packets)} packets of {count} frames.")
        with decoding(), open_video(stream) as decoder:  # timed alone: it decodes ahead in its own threads
            decoded_count = sum(1 for _ in decoder)
        if decoded_count != count:
            raise EvaluationError(f"the stream of {self.encoder} decodes to {decoded_count} of {count} frames.")
        frames: list[FrameResult] = []
        with open_source(sequence) as source, open_video(stream) as decoder:
            width, height = source.info.width, source.info.height
            pairs = zip(map(_planes, source), map(_planes, decoder), strict=True)
            for (keyframe, size, payload), (original, decoded) in zip(packets, pairs, strict=True):
                quality = frame_quality(decoded, original)
                frames.append(FrameResult("I" if keyframe else "P", 8 * size, 8 * payload, quality))
            check_count(sequence, frames)
            pictures = viewable(source, original, decoded)
        return Measured(frames, width * height, pictures, encoding.seconds / count, decoding.seconds / count)

    def _encode(
        self, source: VideoReader, sequence: Video, qp: int, stream: Path, timer: Timer
    ) -> list[tuple[bool, int, int]]:
        """(is a key frame, bytes, bytes of the coded picture) of every packet."""
        info, packets = source.info, []
        if info.is_rgb:
            raise EvaluationError(f"{sequence}: {self.name} codes 4:2:0 here, and this video is RGB; convert it first.")
        if info.width % 2 or info.height % 2:
            raise EvaluationError(f"{sequence}: is {info.width}x{info.height}; {self.name} codes even sides only.")
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 logs its settings otherwise
        with atomic_output(stream) as file, _same_scheduling():
            try:
                with av.open(file, "w", format=self.format) as sink:
                    track = sink.add_stream(self.encoder, rate=info.fps, options=self._options(sequence, qp))
                    assert isinstance(track, VideoStream)
                    track.width, track.height, track.pix_fmt = info.width, info.height, "yuv420p"
                    track.codec_context.thread_count = 1
                    for picture in itertools.chain(map(_picture, map(_planes, source)), [None]):
                        with timer():
                            made = track.encode(picture)
                        for packet in made:
                            data = bytes(packet)
                            packets.append((packet.is_keyframe, len(data), self.payload_bytes(data)))
                            sink.mux(packet)
            except av.FFmpegError as error:
                raise EvaluationError(f"{sequence}: {self.encoder} failed ({error.strerror}).") from None
        return packets


@contextmanager
def _same_scheduling() -> Iterator[None]:
    """Undo the real-time priority that SVT-AV1 gives to the calling thread where it may, as it may as root.

    Everything that the process starts afterwards would inherit it, and spinning threads starve all others.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, param)


def _planes(frame: Frame) -> YuvFrame:
    assert isinstance(frame, YuvFrame)
    return frame


def _picture(frame: YuvFrame) -> av.VideoFrame:
    width, height = frame.size
    planes = np.frombuffer(frame.tobytes(), np.uint8).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(planes, "yuv420p")


def _h264_payload(data: bytes) -> int:
    """Bytes of the slice NAL units of H.264."""
    return sum(size for first, size in _units(data) if 1 <= first & 31 <= 5)


def _hevc_payload(data: bytes) -> int:
    """Bytes of the slice NAL units of H.265."""
    return sum(size for first, size in _units(data) if (first >> 1 & 63) < 32)


def _mpeg4_payload(data: bytes) -> int:
    """Bytes of the VOPs of MPEG-4 Part 2."""
    return sum(size for first, size in _units(data) if first == 0xB6)


def _units(data: bytes) -> Iterator[tuple[int, int]]:
    """(first byte, bytes with the start code) of every unit of an Annex B byte stream."""
    codes = list(re.finditer(rb"\0?\0\0\x01", data))
    ends = [code.start() for code in codes[1:]] + [len(data)]
    for code, end in zip(codes, ends, strict=True):
        yield data[code.end()], end - code.start()


def _obu_payload(data: bytes) -> int:
    """Bytes of the frame OBUs of AV1, headers included."""
    total, start = 0, 0
    while start < len(data):
        kind, extended = data[start] >> 3 & 15, data[start] >> 2 & 1
        position, size, shift = start + 1 + extended, 0, 0
        while True:  # LEB128
            byte = data[position]
            position, size, shift = position + 1, size | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        if kind in (3, 4, 6):  # frame header, tile group, frame
            total += position + size - start
        start = position + size
    return total


_X264 = (
    "qp={qp}:keyint={keyint}:bframes=0:scenecut=0:rc-lookahead=0:sync-lookahead=0:mbtree=0:aq-mode=0:psy=0:threads=1"
)
_X265 = (
    "qp={qp}:keyint={keyint}:bframes=0:b-adapt=0:scenecut=0:rc-lookahead=0:cutree=0:aq-mode=0:psy-rd=0:psy-rdoq=0:"
    "frame-threads=1:pools=none:info=0:log-level=error"
)
_SVT_AV1 = "rc=0:aq-mode=0:qp={qp}:keyint={keyint}:pred-struct=1:lookahead=0:scd=0:tune=1:lp=1"


def _x264(name: str, preset: str) -> Baseline:
    options = {"preset": preset, "x264-params": _X264}
    return Baseline(name, "libx264", "h264", (50, 45, 40, 35, 30, 25), options, _h264_payload)


BASELINES = {
    baseline.name: baseline
    for baseline in (
        _x264("x264", "medium"),
        _x264("x264-ultrafast", "ultrafast"),
        Baseline(
            "mpeg4",
            "mpeg4",
            "m4v",
            (31, 23, 16, 10, 6, 3),
            {"lmin": "{lambda_}", "lmax": "{lambda_}", "g": "{keyint}", "flags": "+mv4", "mbd": "rd", "trellis": "1"},
            _mpeg4_payload,
        ),
        Baseline(
            "x265",
            "libx265",
            "hevc",
            (50, 45, 40, 35, 30, 25),
            {"preset": "medium", "x265-params": _X265},
            _hevc_payload,
        ),
        Baseline(
            "svt-av1",
            "libsvtav1",
            "ivf",
            (63, 55, 47, 39, 31, 23),
            {"preset": "6", "svtav1-params": _SVT_AV1},
            _obu_payload,
        ),
        Baseline(
            "vp9",
            "libvpx-vp9",
            "ivf",
            (63, 57, 50, 42, 34, 26),
            {
                "deadline": "good",
                "cpu-used": "2",
                "b:v": "0",
                "crf": "{qp}",
                "qmin": "{qp}",
                "qmax": "{qp}",
                "g": "{keyint}",
                "lag-in-frames": "0",
                "auto-alt-ref": "0",
                "aq-mode": "0",
                "tune": "psnr",
            },
            len,
        ),
    )
}
