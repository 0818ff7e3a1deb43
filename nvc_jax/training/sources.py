"""Find clips in a folder and read windows of their frames. NumPy only."""

import codecs
import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nvc_jax.demo.sequence import demo_sequence
from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.io.files import explained
from nvc_jax.training.config import DEMO
from nvc_jax.video import Frame, RgbFrame, YuvFrame, coded_colour, open_video, read_png, read_window, yuv_to_rgb
from nvc_jax.video.png import is_animated, list_pictures

# 4:2:0: y [T, H, W], u and v [T, ceil(H/2), ceil(W/2)]; RGB: one array [T, H, W, 3]. All uint8.
Planes = tuple[npt.NDArray[np.uint8], ...]

SEPTUPLETS = "sep_trainlist.txt"  # list file of Vimeo-90k
_DEMO_SIZE, _DEMO_FRAMES = (176, 144), 33


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video with random access to its frames.

    Attributes:
        name: for messages.
        frames: number of frames; a damaged video on disk may hold fewer.
        size: (width, height).
        is_rgb: RGB, not 4:2:0.
        read: planes of `count` frames from frame `start` on. Raises VideoError.
    """

    name: str
    frames: int
    size: tuple[int, int]
    is_rgb: bool
    read: Callable[[int, int], Planes]

    @property
    def plane_bytes(self) -> int:
        """Size of the largest plane of all frames, decoded."""
        return self.frames * self.size[0] * self.size[1] * (3 if self.is_rgb else 1)

    @property
    def size_bytes(self) -> int:
        """Size of all frames, decoded."""
        return self.plane_bytes if self.is_rgb else self.plane_bytes * 3 // 2


def find_clips(source: str) -> tuple[list[Clip], list[str]]:
    """Find the clips of a data source, with notes for the user on skipped entries.

    A folder may hold the Vimeo-90k list and its septuplets, or any mixture of video files, folders of PNGs (each a
    sequence) and PNGs (each a clip of one frame).

    Raises:
        ConfigError: the source is missing or holds no clip.
    """
    if source == DEMO:
        return [_demo()], []
    if not source:
        raise ConfigError("no data to train on; set data.source=FOLDER (of videos, PNG sequences or Vimeo-90k).")
    folder = Path(source)
    with explained(ConfigError, f"{source}: cannot open the folder of training data", "."):
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    clips: list[Clip] = []
    ignored: list[str] = []
    if (folder / SEPTUPLETS).is_file():
        clips = _septuplets(folder)
    else:
        for entry in entries:
            try:
                clips.append(_clip(entry))
            except VideoError as error:
                ignored.append(str(error))
    if not clips:
        why = f" (tried {len(ignored)}: {ignored[0]})" if ignored else ""
        raise ConfigError(f"{source}: holds no video and no PNG sequence{why}.")
    return clips, [f"{source}: skipped {len(ignored)} entries that are no videos, e.g. {ignored[0]}"] if ignored else []


def in_memory(clip: Clip) -> Clip:
    """Decode a clip once and serve it from memory.

    Raises:
        VideoError: the clip cannot be decoded.
    """
    planes = clip.read(0, clip.frames)
    return dataclasses.replace(
        clip, frames=len(planes[0]), read=lambda start, count: tuple(plane[start : start + count] for plane in planes)
    )


def as_rgb(clip: Clip) -> Clip:
    """Convert a clip to RGB, to batch it with others."""
    if clip.is_rgb:
        return clip
    with open_video(clip.name) as reader:
        colour = coded_colour(reader.info)

    def read(start: int, count: int) -> Planes:
        frames = zip(*clip.read(start, count), strict=True)
        return (np.stack([yuv_to_rgb(YuvFrame(*planes), colour).rgb for planes in frames]),)

    return dataclasses.replace(clip, is_rgb=True, read=read)


def _stack(frames: Iterable[Frame]) -> Planes:
    planes = [(frame.rgb,) if isinstance(frame, RgbFrame) else (frame.y, frame.u, frame.v) for frame in frames]
    return tuple(np.stack(plane) for plane in zip(*planes, strict=True))


def _clip(path: Path) -> Clip:
    """Open a video file, a PNG, or a folder of PNGs as a clip."""
    if path.is_dir() or (path.suffix.lower() == ".png" and not is_animated(path)):
        return _pictures(path)
    with open_video(path) as reader:
        info, index = reader.info, reader.index
        if index is not None:
            frames = index.timeline.frames  # frames found, whatever the container declares
        elif info.frames is None:  # counted by reading
            frames = sum(1 for _ in reader)
        else:
            frames = info.frames

    def read(start: int, count: int) -> Planes:
        return _stack(read_window(path, start, count, index))

    return Clip(str(path), frames, (info.width, info.height), info.is_rgb, read)


def _pictures(path: Path) -> Clip:
    pictures = list_pictures(path) if path.is_dir() else [path]
    with open_video(path) as reader:
        size = (reader.info.width, reader.info.height)
    return _of_pictures(str(path), pictures, size)


def _of_pictures(name: str, pictures: list[Path], size: tuple[int, int]) -> Clip:
    def read(start: int, count: int) -> Planes:
        return (np.stack([read_png(picture) for picture in pictures[start : start + count]]),)

    return Clip(name, len(pictures), size, True, read)


def _septuplets(folder: Path) -> list[Clip]:
    """Find the listed septuplets: line `00001/0001` is sequences/00001/0001/im1.png to im7.png."""
    lines = _read_list(folder / SEPTUPLETS).split()
    if not lines:
        raise ConfigError(f"{folder / SEPTUPLETS}: lists no septuplet.")
    places = [folder / "sequences" / line for line in lines]
    pictures = [[place / f"im{number}.png" for number in range(1, 8)] for place in places]
    missing = next((path for path in pictures[0] if not os.path.isfile(path)), None)
    if missing:
        raise ConfigError(f"{missing}: is listed in {SEPTUPLETS} but missing; unpack Vimeo-90k beside its list.")
    with open_video(pictures[0][0]) as reader:  # all have one size
        size = (reader.info.width, reader.info.height)
    return [_of_pictures(str(place), of_clip, size) for place, of_clip in zip(places, pictures, strict=True)]


def _read_list(path: Path) -> str:
    """Read text in UTF-8 or, as editors on Windows may save it, UTF-16."""
    with explained(ConfigError, f"{path}: cannot be read", "."):
        data = path.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it again in UTF-8.") from None


def _demo() -> Clip:
    _, frames = demo_sequence(*_DEMO_SIZE, _DEMO_FRAMES)
    return in_memory(Clip(DEMO, _DEMO_FRAMES, _DEMO_SIZE, False, lambda start, count: _stack(frames)))
