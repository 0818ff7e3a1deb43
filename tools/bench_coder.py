"""Benchmark the entropy coder in both dialects, beside the official one if it is given.

Run: python tools/bench_coder.py [--reference DIR] --output benchmarks/results/coder_cpu.json
DIR holds the official extension module, MLCodec_extensions_cpp, built from a DCVC checkout. Coders run in
turns, so that a change of the machine's clock or load affects all.

Cases: `large`, a million symbols, has scales drawn evenly from the table (2.74 bit per symbol); `video`, a
million, has mostly small scales, sorted in groups, as a frame at a low rate (0.34 bit per symbol); `1080p`
resembles the y of a P frame of 1920x1080 at qp 42: two lists of 522,240 positions, a quarter of them coded,
with scales that vary smoothly over the picture and between channels.
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

from native_coder import (  # noqa: TID251
    CdfTable,
    DcvcDecoder,
    DcvcEncoder,
    InterleavedDecoder,
    InterleavedEncoder,
    kernels,
)
from nvc_jax.codec.report import processor
from nvc_jax.entropy.tables import gaussian_tables
from nvc_jax.spec import NOT_CODED, SCALE_LEVELS, SCALE_MAX, SCALE_MIN

SYMBOLS = 1_000_000
CALLS = 4  # of a coder in its turn, as the first finds the caches of another one
Int8 = npt.NDArray[np.int8]
Case = list[tuple[Int8, npt.NDArray[np.uint8]]]  # symbols and indexes of each list
Coder = tuple[Callable[[], bytes], Callable[[bytes], list[Int8]]]  # encode, decode


def cases() -> dict[str, Case]:
    """Make the symbols and table rows of each case."""
    sigma = np.exp(np.linspace(np.log(SCALE_MIN), np.log(SCALE_MAX), SCALE_LEVELS)).astype(np.float32)
    rng = np.random.Generator(np.random.Philox(key=np.array([zlib.crc32(b"large"), 0], np.uint64)))
    rows = {"large": rng.integers(0, SCALE_LEVELS, SYMBOLS, dtype=np.uint8)}
    noise = {"large": rng.standard_normal(SYMBOLS, dtype=np.float32)}
    rng = np.random.default_rng(0)
    video = np.clip(rng.gamma(1.2, 14, SYMBOLS), 0, SCALE_LEVELS - 1).astype(np.uint8)
    rows["video"] = np.sort(video.reshape(-1, 1000), axis=1).ravel()
    noise["video"] = rng.standard_normal(SYMBOLS, dtype=np.float32)
    result = {
        name: [(np.clip(np.rint(noise[name] * sigma[rows[name]]), -128, 127).astype(np.int8), rows[name])]
        for name in rows
    }
    result["1080p"] = [picture(rng, sigma) for _ in range(2)]
    return result


def picture(rng: np.random.Generator, sigma: npt.NDArray[np.float32]) -> tuple[Int8, npt.NDArray[np.uint8]]:
    """Make one coding step of a 1080p frame: [64, 68, 120]."""
    channel = rng.normal(0, 35, (64, 1, 1))
    place = np.kron(rng.normal(0, 25, (1, 17, 15)), np.ones((1, 4, 8)))
    level = channel + place + rng.normal(0, 8, (64, 68, 120))
    level += 2 - np.quantile(level, 0.75)  # below row 2 is below the skip threshold
    indexes = np.clip(level, 0, SCALE_LEVELS - 1).astype(np.uint8)
    symbols = np.clip(np.rint(rng.standard_normal(level.shape) * sigma[indexes]), -128, 127).astype(np.int8)
    skipped = level < 2
    indexes[skipped], symbols[skipped] = NOT_CODED, 0
    return symbols, indexes


def our_coder(case: Case, streams: int) -> Coder:
    """Make a coder of native_coder, dcvc dialect."""
    table = gaussian_table()
    encoder = DcvcEncoder(streams)
    segments = [(table, symbols, rows, 0) for symbols, rows in case]

    def decode(payload: bytes) -> list[Int8]:
        decoder = DcvcDecoder(payload, streams)
        result = [decoder.decode(table, rows) for _, rows in case]
        decoder.finish()
        return result

    return lambda: encoder.encode(segments), decode


def interleaved_coder(case: Case, threads: int, kernels: str | None = None) -> Coder:
    """Make a coder of native_coder, interleaved dialect, with the fastest kernels by default."""
    table = gaussian_table()
    encoder = InterleavedEncoder(threads, kernels=kernels)
    decoder = InterleavedDecoder(b"", threads, kernels=kernels)
    segments = [(table, symbols, rows, 0) for symbols, rows in case]

    def decode(payload: bytes) -> list[Int8]:
        decoder.reset(payload)
        result = [decoder.decode(table, rows) for _, rows in case]
        decoder.finish()
        return result

    return lambda: encoder.encode(segments), decode


def gaussian_table() -> CdfTable:
    """Make the table of all cases."""
    arrays = gaussian_tables()
    return CdfTable(arrays.cdf, arrays.length, arrays.offset)


def official_coder(module: Any, case: Case, streams: int) -> Coder:
    """Make a coder of the official extension; its packing of symbols is not timed."""
    arrays = gaussian_tables()
    encoder, decoder = module.RansEncoder(), module.RansDecoder()
    encoder.set_use_two_encoders(streams == 2)
    decoder.set_use_two_decoders(streams == 2)
    for coder in (encoder, decoder):
        coder.add_cdf(arrays.cdf, arrays.length, arrays.offset)
    packed = [(symbols[rows != NOT_CODED].astype(np.int16) * 256 + rows[rows != NOT_CODED]) for symbols, rows in case]

    def encode() -> bytes:
        encoder.reset()
        for part in packed:
            encoder.encode_y(part, 0)
        encoder.flush()
        return bytes(encoder.get_encoded_stream().tobytes())

    def decode(payload: bytes) -> list[Int8]:
        decoder.set_stream(np.frombuffer(payload, np.uint8))
        result = [np.zeros_like(symbols) for symbols, _ in case]
        for symbols, (_, rows) in zip(result, case, strict=True):
            symbols[rows != NOT_CODED] = decoder.decode_and_get_y(rows[rows != NOT_CODED], 0)
        return result

    return encode, decode


def measure(coders: dict[str, Coder], case: Case, repeats: int) -> dict[str, dict[str, float]]:
    """Measure the speed of every coder, best and median of the repeats, and the size of its payload."""
    times: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in coders}
    sizes: dict[str, int] = {}
    for _ in range(repeats):
        for name, (encode, decode) in coders.items():
            payload = b""
            for _ in range(CALLS):
                begin = time.perf_counter()
                payload = encode()
                times[name]["encode"].append(time.perf_counter() - begin)
            for _ in range(CALLS):
                begin = time.perf_counter()
                symbols = decode(payload)
                times[name]["decode"].append(time.perf_counter() - begin)
            if sizes.setdefault(name, len(payload)) != len(payload):
                raise SystemExit(f"{name} writes different payloads")
            if not all(np.array_equal(got, sent) for got, (sent, _) in zip(symbols, case, strict=True)):
                raise SystemExit(f"{name} does not decode its own payload")
    coded = sum(int((rows != NOT_CODED).sum()) for _, rows in case)
    reference = times["dcvc, 1 stream"]
    result: dict[str, dict[str, float]] = {}
    for name, directions in times.items():
        values: dict[str, float] = {"bytes": sizes[name]}
        for direction, seconds in directions.items():
            for label, pick in (("best", min), ("median", lambda s: float(np.median(s)))):
                second = pick(seconds)
                values[f"{direction}_{label}_ms"] = round(1e3 * second, 3)
                values[f"{direction}_{label}_msymbols_per_s"] = round(coded / second / 1e6, 1)
                values[f"{direction}_{label}_payload_mb_per_s"] = round(sizes[name] / second / 1e6, 2)
                values[f"{direction}_{label}_ratio"] = round(pick(reference[direction]) / second, 2)
        result[name] = values
    return result


def machine() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "cpu": processor(),
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
        coders = {f"dcvc, {n} stream{'s' * (n > 1)}": our_coder(case, n) for n in (1, 2)}
        coders |= {f"interleaved, {n} thread{'s' * (n > 1)}": interleaved_coder(case, n) for n in (1, 2)}
        coders |= {f"interleaved, {name}": interleaved_coder(case, 1, name) for name in kernels()[:-1]}
        if module is not None:
            coders |= {f"official, {n} stream{'s' * (n > 1)}": official_coder(module, case, n) for n in (1, 2)}
        coded = sum(int((rows != NOT_CODED).sum()) for _, rows in case)
        results[name] = {
            "positions": sum(rows.size for _, rows in case),
            "coded": coded,
            "coders": measure(coders, case, arguments.repeats),
        }
        for coder, values in results[name]["coders"].items():
            shown = {
                f"{d} {label}": (values[f"{d}_{label}_msymbols_per_s"], values[f"{d}_{label}_ratio"])
                for d in ("encode", "decode")
                for label in ("best", "median")
            }
            print(f"{name:6} {coder:22} {values['bytes']:7} bytes", shown, file=sys.stderr)
    report = {
        "unit": "ratios are speed over that of `dcvc, 1 stream` in the same run, best to best and median to median",
        "repeats": arguments.repeats,
        "kernels": kernels(),
        "machine": machine(),
        "results": results,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
