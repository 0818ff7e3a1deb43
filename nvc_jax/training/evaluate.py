"""Real streams of a model in training, on real clips."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.codec.store import StoredModel, save_model
from nvc_jax.demo.sequence import write_demo
from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.evaluation.coders import ModelCoder
from nvc_jax.evaluation.sequences import Video
from nvc_jax.io.files import make_folder
from nvc_jax.spec import DEFAULT_PRESET, DEFAULT_RDOQ, DEFAULT_SKIP_THRESHOLD
from nvc_jax.training.config import DEMO, Evaluation
from nvc_jax.video import open_video, write_png

_DEMO_SIZE = (176, 144)


def evaluate(model: StoredModel, evaluation: Evaluation, pictures: Path) -> Iterator[dict[str, Any]]:
    """A rate-distortion point of every clip at every qp, from streams that were written and decoded.

    Args:
        model: what to measure.
        evaluation: on what.
        pictures: PNGs of source and decoded frame, side by side, are written here.

    Yields:
        `sequence`, `qp`, `bpp`, `psnr` (dB; 6:1:1 over planes, or RGB), `psnr_y`.

    Raises:
        ConfigError: there is no clip.
    """
    make_folder(pictures)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_model(folder / "model", model)
        demo = evaluation.source == DEMO
        clip = folder / "demo.y4m"
        for path in [write_demo(clip, *_DEMO_SIZE, evaluation.frames)] if demo else videos(evaluation.source):
            for qp in evaluation.qps:
                sequence = Video("evaluation", path.stem, path, None, evaluation.frames, False, -1)
                yield _point(folder, model, sequence, qp, pictures)


def _point(folder: Path, model: StoredModel, sequence: Video, qp: int, pictures: Path) -> dict[str, Any]:
    coder = ModelCoder(
        model=str(folder / "model"),
        identity=model.identity,
        config=model.config.to_dict(),
        qps=(qp,),
        container="nvc",
        precision="float32",  # the numbers of a model in training need not fit int16
        reset_interval=64,
        skip_threshold=DEFAULT_SKIP_THRESHOLD,
        rdoq=DEFAULT_RDOQ,
        skip_blocks=True,
        preset=DEFAULT_PRESET,
        offsets=model.offsets,
    )
    measured = coder.measure(sequence, qp, folder / f"stream{coder.suffix}")
    bits = sum(frame.bits for frame in measured.frames)
    psnr = np.mean([frame.quality.psnr for frame in measured.frames], axis=0)
    write_png(
        picture_of(pictures, sequence.name, qp), np.concatenate([frame.rgb for frame in measured.pictures], axis=1)
    )
    return {
        "sequence": sequence.name,
        "qp": qp,
        "bpp": bits / (measured.pixels * len(measured.frames)),
        "psnr": float(psnr[0]),
        "psnr_y": float(psnr[1] if len(psnr) > 1 else psnr[0]),
    }


def picture_of(pictures: Path, sequence: str, qp: int) -> Path:
    """Name the PNG of a clip at a qp."""
    return pictures / f"{sequence}_qp{qp:02}.png"


def videos(source: str) -> list[Path]:
    """The videos of a folder.

    Raises:
        ConfigError: there are none.
    """
    found = []
    try:
        paths = sorted(Path(source).iterdir()) if source else []
    except OSError:
        paths = []
    for path in paths:
        try:
            with open_video(path):
                found.append(path)
        except VideoError:  # not a video
            continue
    if not found:
        raise ConfigError(f"evaluation.source is {source!r}; it must be a folder that holds videos.")
    return found
