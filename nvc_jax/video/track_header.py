"""Crop window and chroma location of a track, which FFmpeg knows and PyAV does not expose.

FFmpeg writes them into the header of a Matroska file, whatever the source container. Such a header is muxed in
memory and parsed here (RFC 8794 and 9559).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import av
from av.video.stream import VideoStream

_SEGMENT, _TRACKS, _ENTRY, _VIDEO, _COLOUR = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x55B0
_CROPS = (0x54CC, 0x54DD, 0x54BB, 0x54AA)  # cropped pixels: left, right, top, bottom
_SITING = (0x55B7, 0x55B8)  # chroma siting, horizontal and vertical; 1 is left or top, 2 is half
_LOCATIONS = {(1, 2): "left", (2, 2): "center", (1, 1): "topleft"}


class Window(NamedTuple):
    """A crop window in pixels."""

    left: int
    top: int
    width: int
    height: int


class TrackHeader(NamedTuple):
    """Track metadata that PyAV does not expose.

    Attributes:
        window: the crop window of the container; None for the whole picture.
        chroma_location: as in `Colour`.
    """

    window: Window | None = None
    chroma_location: str | None = None


def read_track_header(stream: VideoStream) -> TrackHeader:
    """Extract the metadata of a track; empty where FFmpeg cannot mux it."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as sink:
            sink.add_stream_from_template(stream)
            sink.start_encoding()
            return _parse(file.getvalue(), stream.width, stream.height)
    except (av.FFmpegError, ValueError, IndexError):
        return TrackHeader()


def _parse(data: bytes, width: int, height: int) -> TrackHeader:
    tracks = _child(_child(data, _SEGMENT), _TRACKS)
    video = dict(_elements(_child(_child(tracks, _ENTRY), _VIDEO)))
    colour = dict(_elements(video.get(_COLOUR, b"")))
    left, right, top, bottom = (int.from_bytes(video.get(kind, b"")) for kind in _CROPS)
    window = Window(left, top, width - left - right, height - top - bottom)
    shown = window if any((left, right, top, bottom)) and min(window.width, window.height) > 0 else None
    across, down = (int.from_bytes(colour.get(kind, b"")) for kind in _SITING)
    return TrackHeader(shown, _LOCATIONS.get((across, down)))


def _child(data: bytes, kind: int) -> bytes:
    return next((content for found, content in _elements(data) if found == kind), b"")


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over (id, content) of consecutive EBML elements."""
    at = 0
    while at < len(data):
        kind, used = _number(data, at)
        length, more = _number(data, at + used)
        mask = (1 << 7 * more) - 1
        length = len(data) if length & mask == mask else length & mask  # unknown length: to the end
        at += used + more
        yield kind, data[at : at + length]
        at += length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Parse an EBML variable-length integer, marker included, and its size in bytes."""
    if not data[at]:
        raise ValueError("not an EBML number")
    count = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + count]), count
