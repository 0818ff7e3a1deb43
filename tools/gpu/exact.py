"""Check that a device computes the same results as others.

python tools/gpu/exact.py --output OUT.json [--expected FOLDER] [--golden FOLDER] [--seconds N]

Writes OUT.json after every check. --expected is a folder of `gpu_run.py prepare` from a CPU; --golden has vectors of
the official implementation. Checks that would start after the time limit are skipped and listed. The folders tools,
tests and tests/codec have to be on PYTHONPATH.
"""

import argparse
import functools
import hashlib
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import recording
import regression
import streams
import synthetic

from gpu.expected import check_expected
from gpu.kernel_checks import Outcome, kernel_checks
from nvc_jax.codec.integers import fastest_strategy, strategies_of
from nvc_jax.codec.model import Codec
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.codec.schedule import Schedule
from nvc_jax.codec.store import make_model
from nvc_jax.convert.checkpoint import params_from_official
from nvc_jax.errors import NvcError
from nvc_jax.models.codecs import dcvc_rt
from nvc_jax.video import YuvFrame

Check = tuple[str, Callable[[], Outcome]]


# First digits of the hashes of the frames' bytes and pictures; their joint hash is test_int16.PINNED.
_PINNED_BYTES = ("fc65e545", "74adf119", "cb000586", "f25d5cac", "b27db9da")
_PINNED_PICTURES = ("45159fbc", "29a240d0", "cc835a27", "75c9529c", "b4db6f51")


def checks(expected: Path | None, golden: Path | None) -> Iterator[Check]:
    """Iterate over all checks: one of every kind first, the longest compilations last."""
    first, *others = kernel_checks()
    yield first
    if golden is not None:
        yield "float32, golden sequence 96x64 qp 32", functools.partial(golden_sequence, golden, "96x64", 32, 0.12)
    strategies = dict.fromkeys([fastest_strategy(), *strategies_of(jax.default_backend())])
    yield "int16, pinned stream of the tiny codec", functools.partial(pinned_int16, next(iter(strategies)))
    yield from others
    for name in regression.CASES:
        yield f"float32, pinned stream {name!r} of the tiny codec", functools.partial(pinned_float32, name)
    if expected is not None:
        yield from check_expected(expected)
    if golden is not None:
        for name in sorted(file.stem for file in golden.glob("stream_*.bin")):
            yield f"float32, golden {name}", functools.partial(golden_stream, golden, name)
    for strategy in list(strategies)[1:]:
        yield f"int16 by {strategy}, pinned stream of the tiny codec", functools.partial(pinned_int16, strategy)


@functools.cache
def _tiny() -> Codec:
    return Codec(synthetic.tiny_model())


def pinned_float32(name: str) -> Outcome:
    """Check the stream in tests/data: the same bytes, and pictures within 1."""
    case = regression.CASES[name]
    with np.load(regression.DATA) as data:
        seed, stream = int(data[f"{name}/seed"]), data[f"{name}/stream"].tobytes()
        pictures = [data[f"{name}/{plane}"] for plane in "yuv"]
    ours, _ = regression.encode(_tiny(), case, seed)
    decoded = regression.decode(_tiny(), case, stream)
    return _agreement(ours == stream, decoded, pictures[0], zip(*pictures[1:], strict=True))


def pinned_int16(strategy: str) -> Outcome:
    """Check the hash of a stream and its pictures against tests/codec/test_int16.py; else name differences."""
    import test_int16  # starts JAX, which must be set up before

    codec = Codec(synthetic.tiny_model(), "int16", strategy)
    stream = test_int16.encode(codec)
    detail = []
    coded = [packet.payload for packet in streams.reader(stream)]
    detail.append(f"other bytes in frames {_others(coded, _PINNED_BYTES)}")
    try:
        decoded = test_int16.decode(codec, stream)
    except NvcError as error:
        return False, f"strategy {strategy}: {'; '.join(detail)}; decoding its own stream failed: {error}"
    found = test_int16.digest(stream, decoded)
    if found == test_int16.PINNED:
        return True, f"strategy {strategy}, hash the same"
    pictures = [b"".join(np.ascontiguousarray(p).tobytes() for p in (f.y, f.u, f.v)) for f in decoded]
    detail.append(f"other pictures in frames {_others(pictures, _PINNED_PICTURES)}")
    again = test_int16.encode(codec) == stream
    detail.append(f"coded again {'the same' if again else 'yet another'} stream")
    return False, f"strategy {strategy}, hash {found[:12]}, not {test_int16.PINNED[:12]}: {'; '.join(detail)}"


def _others(parts: list[bytes], pinned: Sequence[str]) -> list[int]:
    """List the parts with another hash."""
    pairs = enumerate(zip(parts, pinned, strict=True))
    return [i for i, (part, digits) in pairs if hashlib.sha256(part).hexdigest()[:8] != digits]


def _agreement(same_bytes: bool, decoded: list[YuvFrame], y: np.ndarray, uv: Iterator) -> Outcome:
    """Compare with pictures decoded by another machine."""
    equal, largest = 0, 0
    for planes, *theirs in zip(decoded, y, *zip(*uv, strict=True), strict=True):
        differences = [
            np.abs(ours.astype(int) - other).max()
            for ours, other in zip((planes.y, planes.u, planes.v), theirs, strict=True)
        ]
        equal += max(differences) == 0
        largest = max(largest, *map(int, differences))
    detail = f"stream {'identical' if same_bytes else 'DIFFERENT'}, {equal} of {len(decoded)} pictures identical"
    return same_bytes and largest <= 1, f"{detail}, largest difference {largest}"


# --- vectors of the official implementation


@functools.cache
def _weights(golden: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_weights", golden / "weights.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def _golden_codec(golden: Path, scale_mode: str) -> Codec:
    image, video = (_weights(golden).make_state_dict(m, scale_mode=scale_mode) for m in ("image", "video"))
    return Codec(make_model(dcvc_rt, params_from_official(dcvc_rt, image, video), "golden"))


def golden_sequence(golden: Path, size: str, qp: int, threshold: float) -> Outcome:
    """Check table indexes, symbols and latents of ten frames, then the pictures."""
    codec = _golden_codec(golden, "net")
    with np.load(golden / f"video_{size}_qp{qp}_thr012.npz") as file:
        data = dict(file)
    source = [YuvFrame(y, *uv) for y, uv in zip(data["y420"], data["uv420"], strict=True)]
    with recording.recorded_stages() as calls:
        stream, _ = streams.encode(codec, source, Schedule(qp, qp, -1, reset_interval=4), threshold, False)
    within, indexes, problems = 0, 0, []
    for t, record in enumerate(recording.frames(calls)):
        vectors = {k.removeprefix(f"f{t}/"): v for k, v in data.items() if k.startswith(f"f{t}/")}
        try:
            indexes += recording.assert_latents(record, vectors, threshold)
            within += 1
        except AssertionError as error:
            problems.append(f"frame {t}: {' '.join(str(error).split())[:160]}")
    decoded = [frame.planes for frame in streams.decode(codec, data["container"].tobytes(), threshold)]
    passed, detail = _agreement(True, decoded, data["dec_y"], iter(data["dec_uv"]))
    same = "identical" if stream == data["container"].tobytes() else "different"
    detail = (
        f"latents of {within} of {len(source)} frames within the tolerances, table indexes of {indexes} the official "
        f"ones, our stream {same}; official stream decoded: {detail.split(', ', 1)[1]}"
    )
    return passed and within == len(source), "; ".join([detail, *problems[:2]])


def golden_stream(golden: Path, name: str) -> Outcome:
    """Check an official stream: decode it, and code its source again."""
    settings = json.loads((golden / "streams.json").read_text())[name]
    with np.load(golden / settings["input"]) as data:
        source = [YuvFrame(y, *uv) for y, uv in zip(data["y"], data["uv"], strict=True)][: settings["frames"]]
    with np.load(golden / f"{name}_dec.npz") as data:
        y, uv = data["y"], data["uv"]
    stream = (golden / f"{name}.bin").read_bytes()
    codec, threshold = _golden_codec(golden, settings["scale_mode"]), settings["force_zero_thres"]
    schedule = Schedule(settings["qp_p"], settings["qp_i"], settings["intra_period"], settings["reset_interval"])
    dialect = "two_streams" if settings["two_coders"] else None
    ours, _ = streams.encode(codec, source, schedule, threshold, False, dialect)
    decoded = [frame.planes for frame in streams.decode(codec, stream, threshold)]
    passed, detail = _agreement(ours == stream or not settings["encode_exact"], decoded, y, iter(uv))
    pairs = zip(*([packet.payload for packet in streams.reader(one)] for one in (ours, stream)), strict=True)
    frames = sum(a == b for a, b in pairs)
    return passed, f"{frames} of {len(source)} frames coded to the official bytes; {detail.split(', ', 1)[1]}"


def main() -> int:
    """Check; the exit code is 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--expected", type=Path)
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    prepare_process()
    end = time.monotonic() + options.seconds
    rows, left_out = [], []
    for name, check in checks(options.expected, options.golden):
        if time.monotonic() > end:
            left_out.append(name)
            continue
        start = time.monotonic()
        try:
            passed, detail = check()
        except Exception as error:
            traceback.print_exc()
            passed, detail = False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        rows.append({"name": name, "passed": bool(passed), "detail": detail, "seconds": time.monotonic() - start})
        print(rows[-1], flush=True)
        device = jax.devices()[0].device_kind
        options.output.write_text(json.dumps({"device": device, "checks": rows, "left_out": left_out}, indent=1) + "\n")
    options.output.write_text(json.dumps({"device": device, "checks": rows, "left_out": left_out}, indent=1) + "\n")
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
