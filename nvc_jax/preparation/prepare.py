"""Prepare a folder of training sequences: find videos, cut them, write what is found, and remember what is done."""

import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import Any

from nvc_jax.errors import ConfigError, OutputError, VideoError
from nvc_jax.io.files import atomic_output, explained, make_folder
from nvc_jax.preparation.lossless import write_lossless
from nvc_jax.preparation.sequences import Count, Rules, cut_sequences
from nvc_jax.video import Frame, VideoReader, open_video
from nvc_jax.video.png import list_pictures

RECORD = ".prepared.jsonl"  # hidden, so that train.py does not take it for a clip


@dataclasses.dataclass(frozen=True)
class Source:
    """A video to prepare.

    Attributes:
        path: file, or folder of PNGs.
        name: of its sequences, unique.
        given: it was named by the user, not found in a folder.
    """

    path: Path
    name: str
    given: bool


@dataclasses.dataclass
class Progress:
    """State of a preparation, updated from several threads.

    Attributes:
        sources: number of videos.
        done: videos that are finished, those of earlier calls included.
        frames: frames read in this call.
        sequences: sequences in the folder.
        bytes: their size.
        still: sequences left out for too little motion.
        scenes: scenes of the finished videos.
        foreign: entries of folders that are no videos.
        failed: videos that cannot be read, or only in part.
    """

    sources: int = 0
    done: int = 0
    frames: int = 0
    sequences: int = 0
    bytes: int = 0
    still: int = 0
    scenes: int = 0
    foreign: int = 0
    failed: int = 0


def prepare(
    sources: Sequence[str],
    output: Path,
    rules: Rules,
    *,
    suffix: str = ".mkv",
    workers: int = 1,
    progress: Callable[[Progress], Any] = lambda _: None,
    note: Callable[[str], Any] = lambda _: None,
) -> Progress:
    """Cut videos into sequences in a folder; an interrupted call is continued by the same one.

    The sequences depend on the videos, their names and the rules, not on `workers` or interruptions.

    Args:
        sources: videos, folders of PNGs, and folders of those at any depth.
        output: folder for the sequences.
        rules: what becomes a sequence.
        suffix: ".mkv" (FFV1) or ".y4m".
        workers: videos that are read at once.
        progress: called often, from several threads in turn.
        note: takes sentences for the user.

    Raises:
        NvcError: a source does not exist, there are none, or the folder holds something else.
    """
    found = find_sources(sources, output)
    settings = {"sources": list(sources), "suffix": suffix, **dataclasses.asdict(rules)}
    make_folder(output)
    record = _Record(output, json.loads(json.dumps(settings)))
    left = [source for source in found if not record.has(source)]
    state = Progress(sources=len(found), done=len(found) - len(left))
    for entry in record.entries.values():
        _add(state, entry)
    lock, stop = Lock(), Event()

    def work(source: Source) -> None:
        def seen(frames: int) -> None:
            if stop.is_set():
                raise InterruptedError
            with lock:
                state.frames += frames
                progress(state)

        try:
            entry, damage = _prepare(source, output, rules, suffix, seen)
        except VideoError as error:  # before the first frame: not a video, or it cannot be read
            with lock:
                state.done += 1
                if source.given:
                    state.failed += 1
                    note(f"{str(error).rstrip('.')}; it is left out.")
                else:
                    state.foreign += 1
                progress(state)
            return
        with lock:
            record.add(source, entry)
            _add(state, entry)
            state.done += 1
            if damage is not None:
                state.failed += 1
                note(f"{damage.rstrip('.')}; the sequences before it are kept.")
            progress(state)

    progress(state)
    with ThreadPoolExecutor(workers) as threads:
        futures = [threads.submit(work, source) for source in left]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return state


def find_sources(names: Sequence[str], output: Path) -> list[Source]:
    """Find the videos below the sources, in a fixed order.

    Raises:
        ConfigError: a source does not exist, or none holds a file.
    """
    found: dict[Path, tuple[str, bool]] = {}
    for name in names:
        root = Path(name)
        if not os.path.exists(root):
            raise ConfigError(f"{name}: no such file or folder.")
        for path in _below(root, output.resolve()):
            relative = root.resolve().name if path == root else str(path.relative_to(root))
            found.setdefault(path, (relative, path == root))
    if not found:
        raise ConfigError(f"{', '.join(names)}: holds no files.")
    sources: list[Source] = []
    taken: set[str] = set()
    for path, (relative, given) in found.items():
        plain = re.sub(r"[^\w.-]+", "_", os.path.splitext(relative)[0]).strip("._") or "video"
        if plain in taken:
            plain += "_" + hashlib.sha256(relative.encode(errors="surrogateescape")).hexdigest()[:8]
        while plain in taken:
            plain += "_"
        taken.add(plain)
        sources.append(Source(path, plain, given))
    return sources


def _below(root: Path, output: Path) -> Iterator[Path]:
    """List the files and folders of PNGs in a folder, sorted; a file is itself."""
    if not root.is_dir():
        yield root
        return
    with explained(ConfigError, f"{root}: cannot open the folder", "."):
        entries = sorted(
            entry for entry in root.iterdir() if not entry.name.startswith(".") and entry.resolve() != output
        )
    if any(entry.suffix.lower() == ".png" for entry in entries) and len(list_pictures(root)) > 1:
        yield root
        entries = [entry for entry in entries if entry.suffix.lower() != ".png"]
    for entry in entries:
        yield from _below(entry, output)


def _prepare(
    source: Source, output: Path, rules: Rules, suffix: str, seen: Callable[[int], None]
) -> tuple[dict[str, Any], str | None]:
    """Write the sequences of a video; returns its entry of the record, and the damage at which it ends, if any."""
    count = Count()
    rows: list[dict[str, Any]] = []
    damage: list[str] = []
    with open_video(source.path) as reader:
        info, first = reader.info, next(reader)  # a video without a frame is none
        if suffix == ".y4m" and info.is_rgb:
            raise ConfigError(f"{source.path}: holds RGB pictures, which y4m cannot hold; use mkv.")
        frames = _until_damage(first, reader, seen, damage)
        for sequence in cut_sequences(source.name, frames, rules, count):
            path = output / f"{source.name}_{sequence.start:07}{suffix}"
            colour = info.colour
            if sequence.box > 1 and colour.chroma_location == "left":
                colour = dataclasses.replace(colour, chroma_location="center")
            rate = info.fps / rules.every
            write_lossless(path, sequence.frames, dataclasses.replace(info, colour=colour, fps=rate))
            width, height = sequence.frames[0].size
            rows.append(
                {"file": path.name, "start": sequence.start, "box": sequence.box, "width": width, "height": height}
                | {"motion": round(sequence.motion, 3), "bytes": path.stat().st_size}
            )
    return {**dataclasses.asdict(count), "sequences": rows}, damage[0] if damage else None


def _until_damage(first: Frame, reader: VideoReader, seen: Callable[[int], None], damage: list[str]) -> Iterator[Frame]:
    """Give the frames before the first that does not decode, or decodes with errors that FFmpeg conceals."""
    try:
        for number, frame in enumerate(itertools.chain([first], reader)):
            if reader.findings.damaged:
                damage.append(f"{reader.name}: frame {number} is damaged in the source")
                return
            yield frame
            seen(1)
    except VideoError as error:
        damage.append(str(error))


def _add(state: Progress, entry: dict[str, Any]) -> None:
    state.sequences += len(entry["sequences"])
    state.bytes += sum(row["bytes"] for row in entry["sequences"])
    state.still += entry["still"]
    state.scenes += entry["scenes"]


class _Record:
    """The record of finished work: the settings, and an object for each finished video, sorted by name.

    Attributes:
        entries: by name of the video.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Read the record of a folder.

        Raises:
            ConfigError: it is damaged, or of other settings.
            OutputError: the folder holds other files.
        """
        self._path = folder / RECORD
        self._settings = settings
        self.entries: dict[str, dict[str, Any]] = {}
        if not self._path.exists():
            others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
            if others:
                raise OutputError(f"{folder}: holds other files ({others[0]}); name a new or an empty folder.")
            self._save()
            return
        try:
            first, *rest = (json.loads(line) for line in self._path.read_text().splitlines())
            self.entries = {entry["name"]: entry for entry in rest}
            before = first["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._path}: is damaged ({error}); name a new folder.") from None
        for key, value in settings.items():
            if before.get(key) != value:
                raise ConfigError(
                    f"{folder}: was prepared with {key}={json.dumps(before.get(key))}, not {json.dumps(value)}; give "
                    "the same options to go on, or name a new folder."
                )

    def has(self, source: Source) -> bool:
        """Tell whether a video is done, with its sequences in place; else those that are left of it are removed."""
        entry = self.entries.get(source.name)
        if entry is None:
            return False
        files = [self._path.parent / row["file"] for row in entry["sequences"]]
        if entry["source"] == _described(source.path) and all(file.is_file() for file in files):
            return True
        del self.entries[source.name]
        for file in files:
            file.unlink(missing_ok=True)
        return False

    def add(self, source: Source, entry: dict[str, Any]) -> None:
        """Record a finished video."""
        self.entries[source.name] = {"name": source.name, "source": _described(source.path), **entry}
        self._save()

    def _save(self) -> None:
        lines = [{"settings": self._settings}, *(self.entries[name] for name in sorted(self.entries))]
        with atomic_output(self._path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())


def _described(path: Path) -> dict[str, Any]:
    """Identify a source: its path as given, and the sizes of its files."""
    files = list_pictures(path) if path.is_dir() else [path]
    return {"path": str(path), "bytes": sum(file.stat().st_size for file in files), "files": len(files)}
