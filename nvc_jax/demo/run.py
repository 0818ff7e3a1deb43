"""The demonstration: one moving picture at three qualities, with pictures to look at."""

import itertools
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.codec.files import Progress, decode_file, encode_file
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.demo.labels import labelled
from nvc_jax.demo.sequence import write_demo
from nvc_jax.errors import OutputError, VideoError
from nvc_jax.io.files import STDIO, make_folder, same_file
from nvc_jax.video import Colour, RgbFrame, check_exists, open_video, write_png, yuv_to_rgb
from nvc_jax.video.colour import coded_colour

QPS = (10, 32, 54)
FRAMES = 96  # at most


def run_demo(
    codec: Codec,
    folder: Path,
    video: str | None,
    track: int | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Code a video at three qps; write streams, an mp4 of each, and a side-by-side PNG of the last frame.

    Args:
        codec: the model.
        folder: of the results, made if needed.
        video: a video file, coded up to `FRAMES` frames, or None for the built-in sequence.
        track: number of the video track, see `open_video`.
        progress: called after every frame.
        note: called with sentences for the user.

    Returns:
        `points`: for each qp rate, PSNR, speeds, and `identical`: the decoder gave the encoder's reconstruction;
        `picture`: path of the side-by-side PNG.

    Raises:
        NvcError: the video cannot be read or the results cannot be written.
    """
    if video is not None:
        _check_readable_again(video)
    source = write_demo(folder / "source.y4m") if video is None else Path(video)
    colour, last = _last_frame(source, track)
    make_folder(folder)
    outputs = {qp: (folder / f"qp{qp}.nvc", folder / f"qp{qp}.mp4") for qp in QPS}
    for output in itertools.chain.from_iterable(outputs.values()):
        if same_file(source, output):
            raise OutputError(f"{source}: the demo would overwrite it; give another folder.")
    points, pictures = [], [labelled(last, "source")]
    for qp, (stream, decoded) in outputs.items():
        schedule = Schedule(qp)
        coded = encode_file(
            codec,
            source,
            stream,
            schedule,
            frames=FRAMES,
            track=track,
            reconstruct=True,
            progress=progress,
            note=note,
        )
        shown = decode_file(codec, stream, decoded, hashes=True, progress=progress)
        same = [a["sha256"] == b["sha256"] for a, b in zip(coded["frames"], shown["frames"], strict=True)]
        points.append(
            {
                "qp": qp,
                "stream": str(stream),
                "video": str(decoded),
                **{name: coded[name] for name in ("bpp", "kbps", "psnr")},
                "encode_fps": coded["fps"]["total"],
                "decode_fps": shown["fps"]["total"],
                "identical": all(same),
            }
        )
        label = f"qp {qp}  {coded['kbps']:.0f} kbit/s" + ("" if coded["psnr"] is None else f"  {coded['psnr']:.1f} dB")
        pictures.append(labelled(_last_frame(decoded, colour=colour)[1], label))
        note = None  # once is enough
    picture = folder / "side_by_side.png"
    write_png(picture, np.concatenate(pictures, axis=1))
    return {"source": str(source), "points": points, "picture": str(picture)}


def _check_readable_again(video: str) -> None:
    """Refuse pipes: the demo reads its video several times."""
    check_exists(video)
    if video == STDIO or (os.path.exists(video) and not os.path.isfile(video) and not os.path.isdir(video)):
        name = "standard input" if video == STDIO else video
        raise VideoError(f"{name}: the demo reads its video several times, and a pipe only once; give a file.")


def _last_frame(path: Path, track: int | None = None, colour: Colour | None = None) -> tuple[Colour, Any]:
    """Colour description as coded, and the last frame in RGB; `colour` overrides that of the file."""
    with open_video(path, frames=FRAMES, track=track) as reader:
        colour = colour or coded_colour(reader.info)
        (last,) = deque(reader, maxlen=1)  # a video without frames is an error of its own
    return colour, last.rgb if isinstance(last, RgbFrame) else yuv_to_rgb(last, colour).rgb
