"""The demonstration: one moving picture at three qualities, with pictures to look at."""

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.codec.files import Progress, decode_file, encode_file
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.demo_sequence import demo_sequence
from nvc_jax.errors import OutputError
from nvc_jax.files import reason
from nvc_jax.video import YuvFrame, create_video, open_video, write_png, yuv_to_rgb

QPS = (10, 32, 54)


def run_demo(codec: Codec, folder: Path, video: str | None, progress: Progress | None = None) -> dict[str, Any]:
    """Code a video at three qps; write streams, an mp4 of each, and a side-by-side PNG of the last frame.

    Args:
        codec: the model.
        folder: where results go; made if needed.
        video: a video file, or None for the built-in sequence.
        progress: called after every frame.

    Returns:
        `points`: for each qp its rate, PSNR and speeds; `picture`: path of the side-by-side PNG.

    Raises:
        NvcError: the video cannot be read or the results cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder ({reason(error)}).") from None
    source = Path(video) if video is not None else _write_demo_sequence(folder / "source.y4m")
    points, pictures = [], [_last_frame(source)]
    for qp in QPS:
        stream, decoded = folder / f"qp{qp}.bin", folder / f"qp{qp}.mp4"
        coded = encode_file(codec, source, stream, Schedule(qp=qp, intra_qp=qp), reconstruct=True, progress=progress)
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
        pictures.append(_last_frame(decoded))
    picture = folder / "side_by_side.png"
    write_png(picture, np.concatenate(pictures, axis=1))
    return {"source": str(source), "points": points, "picture": str(picture)}


def _write_demo_sequence(path: Path) -> Path:
    info, frames = demo_sequence()
    with create_video(path, info) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def _last_frame(path: Path) -> Any:
    with open_video(path) as reader:
        last = None
        for last in reader:
            pass
        assert last is not None  # encode_file has refused empty videos
        return yuv_to_rgb(last, reader.info.colour).rgb if isinstance(last, YuvFrame) else last.rgb
