"""Benchmark rate control: code clips with scene cuts and still ones at a bitrate or a PSNR, and plot every frame.

Run: python tools/bench_rate_control.py SCENE.mkv [SCENE.mkv ...] --still STILL.mkv --output OUT.json (and OUT.png)

Three sequences of --frames pictures, cropped to --size: `cuts`, equal parts of all scenes in a row; `still`, the
clip of a camera that does not move; `frozen`, its first picture repeated. Where a clip is too short, it is played
forwards and backwards.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import nvc_jax
from nvc_jax.cli.arguments import parse_bitrate, parse_size
from nvc_jax.cli.program import run_command
from nvc_jax.codec.report import machine, versions
from nvc_jax.errors import VideoError
from nvc_jax.evaluation.plots import png
from nvc_jax.io.files import atomic_output
from nvc_jax.video import VideoInfo, YuvFrame, create_video, open_video

FPS = 30


def cropped(frame: Any, width: int, height: int) -> YuvFrame:
    """Cut out the middle of a frame; even offsets keep chroma in place."""
    if not isinstance(frame, YuvFrame) or frame.size[0] < width or frame.size[1] < height:
        raise VideoError(f"a frame is not YUV of at least {width}x{height}.")
    left, top = ((have - want) // 4 for have, want in zip(frame.size, (width, height), strict=True))
    rows, columns = slice(2 * top, 2 * top + height), slice(2 * left, 2 * left + width)
    chroma_rows, chroma_columns = slice(top, top + (height + 1) // 2), slice(left, left + (width + 1) // 2)
    return YuvFrame(frame.y[rows, columns], *(plane[chroma_rows, chroma_columns] for plane in (frame.u, frame.v)))


def clip(path: str, size: tuple[int, int], count: int) -> Iterator[YuvFrame]:
    """Read a number of frames of a video, forwards and backwards."""
    with open_video(path) as reader:
        frames = [cropped(frame, *size) for frame in reader]
    return itertools.islice(itertools.cycle(frames + frames[-2:0:-1]), count)


def sequences(options: argparse.Namespace, size: tuple[int, int]) -> Iterator[tuple[str, list[YuvFrame]]]:
    """Make the sequences, by name."""
    length = -(-options.frames // len(options.scenes))
    cuts = [frame for path in options.scenes for frame in clip(path, size, length)]
    yield "cuts", cuts[: options.frames]
    yield "still", list(clip(options.still, size, options.frames))
    yield "frozen", [*clip(options.still, size, 1)] * options.frames


def measure(source: Path, target: Path, model: str, rate: dict[str, float]) -> dict[str, Any]:
    """Code a sequence with rate control; the leaky bucket is counted here again, from the bits of the stream."""
    report = nvc_jax.encode_file(source, target, model=model, report_quality=True, **rate)  # type: ignore[arg-type]
    frames = report["frames"]
    columns = {name: [frame[name] for frame in frames] for name in ("qp", "bits", "psnr")}
    result = {**rate, "kbps": report["kbps"], "mean_psnr": report["psnr"], "fps": report["fps"]["total"]}
    if "bitrate" in rate:
        level, levels, size = 0.0, [], rate["bitrate"] * rate["buffer"]
        for bits in columns["bits"]:
            level = max(0.0, level + bits - rate["bitrate"] / FPS)
            levels.append(level / size)
        columns["buffer"] = [round(level, 4) for level in levels]
        result |= {"error": 1000 * report["kbps"] / rate["bitrate"] - 1, "largest_buffer": max(levels)}
    else:
        result["error_db"] = report["psnr"] - rate["psnr"]
    return result | {"frames": columns}


def figure(runs: list[dict[str, Any]]) -> bytes:
    """Plot bits, qp, and the level of the buffer (or the PSNR) of every frame."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(13, 2.3 * len(runs)), layout="constrained")
    rows = drawn.subplots(len(runs), 3, sharex=True, squeeze=False)
    for axes, run in zip(rows, runs, strict=True):
        frames, by_rate = run["frames"], "bitrate" in run
        name = f"{run['sequence']}, " + (f"{run['bitrate'] / 1000:g} kbit/s" if by_rate else f"{run['psnr']:g} dB")
        got = f"{run['kbps']:.1f} kbit/s" if by_rate else f"{run['mean_psnr']:.2f} dB"
        axes[0].semilogy(np.maximum(frames["bits"], 1), linewidth=0.8)
        axes[0].set_title(f"{name}: {got}; bits of every frame", fontsize=9)
        axes[1].plot(frames["qp"], linewidth=0.8)
        axes[1].set(ylim=(-2, 66))
        axes[1].set_title("qp", fontsize=9)
        axes[2].plot(frames["buffer"] if by_rate else frames["psnr"], linewidth=0.8)
        axes[2].set_title("share of the buffer" if by_rate else "PSNR, dB", fontsize=9)
        axes[2].axhline(1.0 if by_rate else run["psnr"], color="#d55e00", linewidth=0.8)
    for axis in rows[-1]:
        axis.set_xlabel("frame")
    return png(drawn)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", metavar="SCENE", help="videos of different scenes")
    parser.add_argument("--still", required=True, metavar="VIDEO", help="a video of a camera that does not move")
    parser.add_argument("--model", default="embedded", metavar="NAME|DIR")
    parser.add_argument("--size", default="352x240", metavar="WxH")
    parser.add_argument("--frames", type=int, default=300, metavar="N")
    parser.add_argument("--bitrates", nargs="+", default=["150k", "300k"], metavar="R", help="of `cuts`")
    parser.add_argument("--still-bitrates", nargs="+", default=["100k"], metavar="R", help="of `still`")
    parser.add_argument("--frozen-bitrates", nargs="+", default=["40k"], metavar="R", help="of `frozen`")
    parser.add_argument("--buffer", type=float, default=1.0, metavar="S", help="seconds (default %(default)s)")
    parser.add_argument("--psnr", type=float, default=34.0, metavar="DB", help="of `cuts` and `still`")
    parser.add_argument("--output", required=True, type=Path, metavar="OUT.json")
    return run_command(parser, bench)


def bench(options: argparse.Namespace) -> None:
    """Measure, write and plot."""
    nvc_jax.prepare_process()
    size = parse_size(options.size)
    bitrates = {"cuts": options.bitrates, "still": options.still_bitrates, "frozen": options.frozen_bitrates}
    runs = []
    for name, frames in sequences(options, size):
        source, stream = (options.output.with_suffix(f".{name}.{kind}") for kind in ("y4m", "nvc"))
        with create_video(source, VideoInfo(*size, FPS)) as writer:  # type: ignore[arg-type]
            for frame in frames:
                writer.write(frame)
        targets = [{"bitrate": parse_bitrate(text) or 0.0, "buffer": options.buffer} for text in bitrates[name]]
        targets += [{"psnr": options.psnr}] if name != "frozen" else []
        for rate in targets:
            runs.append({"sequence": name, **measure(source, stream, options.model, rate)})
            print({key: value for key, value in runs[-1].items() if key != "frames"}, file=sys.stderr)
        source.unlink()
        stream.unlink()
    settings = {
        "model": options.model,
        "size": size,
        "fps": FPS,
        "scenes": [Path(path).name for path in options.scenes],
    }
    settings |= {"still": Path(options.still).name, "machine": machine(), "versions": versions()}
    with atomic_output(options.output) as file:
        file.write((json.dumps({**settings, "runs": runs}) + "\n").encode())
    with atomic_output(options.output.with_suffix(".png")) as file:
        file.write(figure(runs))


if __name__ == "__main__":
    raise SystemExit(main())
