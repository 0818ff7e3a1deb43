"""Test sequences: from an official dataset configuration, or plain video files."""

import dataclasses
import glob
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xxhash

from nvc_jax.errors import ConfigError, VideoError
from nvc_jax.io.files import reason
from nvc_jax.video.png import is_pattern, list_pictures

_SOURCE_TYPES = ("yuv420", "png")
_BLOCK_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True)
class Video:
    """One test sequence.

    Attributes:
        dataset: class, over which results are averaged.
        name: in results.
        path: file, or folder of PNGs.
        size: required (width, height); None takes the file's own.
        frames: to code; None codes all.
        exact: fewer frames are an error.
        intra_period: frames from one intra frame to the next; -1 for only the first.
        track: number of the video track, see `open_video`.
    """

    dataset: str
    name: str
    path: Path
    size: tuple[int, int] | None
    frames: int | None
    exact: bool
    intra_period: int
    track: int | None = None

    def __str__(self) -> str:
        return f"{self.dataset}/{self.name}"


def read_config(path: Path, root: Path | None = None) -> list[Video]:
    """Read the sequences of an official dataset configuration, in its order, without classes of `"test": 0`.

    Files are not opened: a missing one fails its own points only.

    Args:
        path: JSON file.
        root: overrides `root_path`, which is relative to the folder of the JSON file.

    Raises:
        ConfigError: the file cannot be read or is not such a configuration.
    """
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the dataset configuration ({reason(error)}).") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({error}).") from None
    where = str(path)
    root = root or path.parent / _get(config, "root_path", str, where)
    sequences = []
    for dataset, entry in _get(config, "test_classes", dict, where).items():
        where = f"{path}: class {dataset}"
        if not _get(entry, "test", int, where):
            continue
        folder = root / _get(entry, "base_path", str, where)
        if _get(entry, "src_type", str, where) not in _SOURCE_TYPES:
            raise ConfigError(f"{where}: src_type is {entry['src_type']!r}; it must be {' or '.join(_SOURCE_TYPES)}.")
        for name, video in _get(entry, "sequences", dict, where).items():
            where = f"{path}: {dataset}/{name}"
            width, height, frames, intra_period = (
                _get(video, key, int, where) for key in ("width", "height", "frames", "intra_period")
            )
            if min(width, height, frames) < 1:
                raise ConfigError(f"{where}: width, height and frames must be at least 1.")
            if intra_period < 1 and intra_period != -1:
                raise ConfigError(f"{where}: intra_period is {intra_period}; it must be at least 1, or -1.")
            sequences.append(Video(dataset, name, folder / name, (width, height), frames, True, intra_period))
    if not sequences:
        raise ConfigError(f'{path}: has no sequence to test; is "test" 1 for a class?')
    return sequences


def from_files(patterns: Iterable[str]) -> list[Video]:
    """Expand patterns to video files; the class of a file is its folder.

    Raises:
        ConfigError: nothing matches a pattern, or two files get the same name in the results.
    """
    paths: list[Path] = []
    for pattern in patterns:
        magic = _without_real_names(pattern)
        found = sorted(glob.glob(magic)) if glob.has_magic(magic) else [pattern]
        if not found:
            raise ConfigError(f"{pattern}: no file matches.")
        paths += [Path(name) for name in found if Path(name) not in paths]
    sequences = [Video(path.resolve().parent.name, path.name, path, None, None, False, -1) for path in paths]
    for name, count in Counter(map(str, sequences)).items():
        if count > 1:
            raise ConfigError(f"{count} videos are called {name}; results are named after file and folder.")
    return sequences


def _without_real_names(pattern: str) -> str:
    """Escape existing names in a pattern, so that their brackets are literal."""
    if os.path.lexists(pattern):
        return glob.escape(pattern) if glob.has_magic(pattern) else pattern
    parent, name = os.path.split(pattern)
    if not name or not parent or parent == pattern:
        return pattern
    return os.path.join(_without_real_names(parent), name)


def content_hash(path: Path) -> str | None:
    """Hash of a video's bytes, independent of name and date; None if it is not a file or cannot be read."""
    digest = xxhash.xxh3_128()
    try:
        if os.path.isfile(path):
            pictures = [path]
        elif os.path.isdir(path) or is_pattern(path):
            pictures = list_pictures(path)
        else:
            return None
        for picture in pictures:
            digest.update(os.path.getsize(picture).to_bytes(8))
            with open(picture, "rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
    except (OSError, VideoError):
        return None
    return digest.hexdigest()


def _get(holder: Any, key: str, type_: type, where: str) -> Any:
    """A required value of a JSON object, checked for its type."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(value, type_):
        names = {int: "a whole number", str: "a string", dict: "an object"}
        raise ConfigError(f'{where}: "{key}" must be {names[type_]}, not {json.dumps(value)}.')
    return value
