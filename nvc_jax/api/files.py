"""Whole files, as the command line codes them."""

import os
from contextlib import nullcontext
from fractions import Fraction
from typing import Any, Unpack

from nvc_jax.api.codec import Codec
from nvc_jax.api.loading import codec_of
from nvc_jax.api.options import EncodingOptions, exact_rate, split
from nvc_jax.codec import files
from nvc_jax.codec.containers import Container, container_of, default_precision
from nvc_jax.spec import DEFAULT_MODEL, DEFAULT_QP, DEFAULT_SKIP_THRESHOLD

PathLike = str | os.PathLike[str]


def encode_file(
    source: PathLike,
    target: PathLike,
    qp: float = DEFAULT_QP,
    *,
    model: Codec | PathLike = DEFAULT_MODEL,
    container: Container = "auto",
    fps: float | Fraction | None = None,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    report_quality: bool = False,
    **options: Unpack[EncodingOptions],
) -> dict[str, Any]:
    """Code a video file into a stream, as `nvc-jax encode` does.

    Args:
        source: any video that FFmpeg reads, y4m, raw yuv420 (with `size`), or a folder of PNGs.
        target: the stream; it appears complete or not at all.
        qp: quality, 0 to 63, larger is better.
        model: a codec, the name of a packaged model, or a model directory.
        container: "auto" is the official one for `*.bin`, else `.nvc`; "nvc" or "dcvc".
        fps: frame rate, if the source has none or another is wanted.
        frames: code at most this many.
        size: (width, height) of a raw source.
        report_quality: measure the PSNR of every frame and hash it.
        **options: see `EncodingOptions`.

    Returns:
        The report: bits, bpp, kbps, speeds, and the frames, each with qp, bits and, if asked for, PSNR.

    Raises:
        NvcError: what is wrong with source, target or options; nothing is left behind.
    """
    codec = codec_of(model)
    schedule, rest = split(qp, options)
    coder = codec.in_precision(codec.precision or default_precision(container_of(os.fspath(target), container)))
    with codec.on_device():
        return files.encode_file(
            coder,
            os.fspath(source),
            os.fspath(target),
            schedule,
            container=container,
            fps=None if fps is None else exact_rate(fps),
            frames=frames,
            size=size,
            reconstruct=report_quality,
            **rest,
        )


def decode_file(
    source: PathLike,
    target: PathLike,
    *,
    model: Codec | PathLike | None = None,
    start: int = 0,
    frames: int | None = None,
    conceal: bool = False,
    skip_threshold: float | None = DEFAULT_SKIP_THRESHOLD,
) -> dict[str, Any]:
    """Decode a stream into a video file, as `nvc-jax decode` does.

    Args:
        source: the stream.
        target: `.y4m`, `.yuv`, `.mp4`, `.mkv`, `.webm`, or a folder for PNGs; it appears complete or not at all.
        model: a codec, the name of a packaged model or a model directory; by default the one that the stream names.
        start: the first frame wanted.
        frames: decode at most this many.
        conceal: repeat a picture for frames that are lost, and go on at the next intra frame.
        skip_threshold: of the encoder, for official streams; others say it.

    Returns:
        The report: bits, bpp, speeds, and the frames.

    Raises:
        NvcError: what is wrong with source, target or options; nothing is left behind.
    """
    chosen = None if model is None else codec_of(model)
    with nullcontext() if chosen is None else chosen.on_device():
        return files.decode_file(
            lambda header: (chosen or codec_of(None, header)).for_stream(header),
            os.fspath(source),
            os.fspath(target),
            skip_threshold=skip_threshold,
            start=start,
            frames=frames,
            conceal=conceal,
        )
