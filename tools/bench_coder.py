"""Speed of the entropy coder in symbols per second, beside the official one if it is given.

Run: python tools/bench_coder.py [--reference DIR] --output benchmarks/results/coder_cpu.json
DIR holds the official extension module, MLCodec_extensions_cpp, as built from a DCVC checkout. Both coders
run in turn, so that a change of the machine's clock or load meets both.

Cases, a million symbols each: `large` has scales drawn evenly from the table (2.74 bit per symbol); `video`
has mostly small scales, sorted in groups, as a frame at a low rate (0.34 bit per symbol).
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from native_coder import CdfTable, DcvcDecoder, DcvcEncoder  # noqa: TID251
from nvc_jax.entropy.tables import gaussian_tables
from nvc_jax.spec import SCALE_LEVELS, SCALE_MAX, SCALE_MIN

SYMBOLS = 1_000_000
Case = tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8]]  # symbols, indexes
Coder = tuple[Callable[[], bytes], Callable[[bytes], npt.NDArray[np.int8]]]  # encode, decode


def cases() -> dict[str, Case]:
    """The symbols and table rows of each case."""
    sigma = np.exp(np.linspace(np.log(SCALE_MIN), np.log(SCALE_MAX), SCALE_LEVELS)).astype(np.float32)
    rng = np.random.Generator(np.random.Philox(key=np.array([zlib.crc32(b"large"), 0], np.uint64)))
    rows = {"large": rng.integers(0, SCALE_LEVELS, SYMBOLS, dtype=np.uint8)}
    noise = {"large": rng.standard_normal(SYMBOLS, dtype=np.float32)}
    rng = np.random.default_rng(0)
    video = np.clip(rng.gamma(1.2, 14, SYMBOLS), 0, SCALE_LEVELS - 1).astype(np.uint8)
    rows["video"] = np.sort(video.reshape(-1, 1000), axis=1).ravel()
    noise["video"] = rng.standard_normal(SYMBOLS, dtype=np.float32)
    return {
        name: (np.clip(np.rint(noise[name] * sigma[rows[name]]), -128, 127).astype(np.int8), rows[name])
        for name in rows
    }


def our_coder(case: Case, streams: int) -> Coder:
    """Encode and decode with native_coder."""
    arrays = gaussian_tables()
    table = CdfTable(arrays.cdf, arrays.length, arrays.offset)
    encoder = DcvcEncoder(streams)
    symbols, rows = case

    def decode(payload: bytes) -> npt.NDArray[np.int8]:
        decoder = DcvcDecoder(payload, streams)
        result = decoder.decode(table, rows)
        decoder.finish()
        return result

    return lambda: encoder.encode([(table, symbols, rows, 0)]), decode


def official_coder(module: Any, case: Case, streams: int) -> Coder:
    """Encode and decode with the official extension; its own packing of the symbols is not counted."""
    arrays = gaussian_tables()
    encoder, decoder = module.RansEncoder(), module.RansDecoder()
    encoder.set_use_two_encoders(streams == 2)
    decoder.set_use_two_decoders(streams == 2)
    for coder in (encoder, decoder):
        coder.add_cdf(arrays.cdf, arrays.length, arrays.offset)
    symbols, rows = case
    packed = symbols.astype(np.int16) * 256 + rows

    def encode() -> bytes:
        encoder.reset()
        encoder.encode_y(packed, 0)
        encoder.flush()
        return bytes(encoder.get_encoded_stream().tobytes())

    def decode(payload: bytes) -> npt.NDArray[np.int8]:
        decoder.set_stream(np.frombuffer(payload, np.uint8))
        result: npt.NDArray[np.int8] = decoder.decode_and_get_y(rows, 0)
        return result

    return encode, decode


def measure(coders: dict[str, Coder], case: Case, repeats: int) -> dict[str, dict[str, float]]:
    """Millions of symbols per second: the best of the repeats, and their median."""
    times: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in coders}
    payloads = set()
    for _ in range(repeats):
        for name, (encode, decode) in coders.items():
            begin = time.perf_counter()
            payload = encode()
            middle = time.perf_counter()
            symbols = decode(payload)
            end = time.perf_counter()
            times[name]["encode"].append(middle - begin)
            times[name]["decode"].append(end - middle)
            payloads.add(payload)
            if not np.array_equal(symbols, case[0]):
                raise SystemExit(f"{name} does not decode its own payload")
    if len(payloads) != 1:
        raise SystemExit("the coders write different payloads")
    return {
        name: {
            f"{direction}_{label}": round(SYMBOLS / pick(seconds) / 1e6, 1)
            for direction, seconds in directions.items()
            for label, pick in (("best", min), ("median", lambda s: float(np.median(s))))
        }
        for name, directions in times.items()
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="folder of the built official extension")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    module = None
    if arguments.reference is not None:
        sys.path.insert(0, str(arguments.reference))
        module = importlib.import_module("MLCodec_extensions_cpp")
    results: dict[str, Any] = {}
    for name, case in cases().items():
        for streams in (1, 2):
            coders = {"nvc-jax": our_coder(case, streams)}
            if module is not None:
                coders["official"] = official_coder(module, case, streams)
            results.setdefault(name, {})[f"streams_{streams}"] = speeds = measure(coders, case, arguments.repeats)
            for coder, values in speeds.items():
                print(f"{name:6} {streams} stream(s) {coder:9}", values, file=sys.stderr)
    report = {
        "unit": "million symbols per second",
        "symbols": SYMBOLS,
        "repeats": arguments.repeats,
        "machine": machine(),
        "results": results,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
