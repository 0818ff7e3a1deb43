"""Summarise results of steps in a few lines each."""

from typing import Any


def lines_of(result: dict[str, Any] | None) -> list[str]:
    """Summarise a result; those of unknown form bring their own `lines`."""
    if not isinstance(result, dict):
        return []
    if "lines" in result:
        return list(result["lines"])
    if "checks" in result:
        left_out = [f"left out: {name}" for name in result.get("left_out", [])]
        return _checks(result["checks"]) + left_out
    if "end_to_end" in result:
        return _benchmark(result)
    if "samples_per_second" in result:
        return _training(result)
    return []


def _checks(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"{'ok  ' if row['passed'] else 'BAD '} {row['name']}: {row['detail']} ({row['seconds']:.1f} s)" for row in rows
    ]


def _benchmark(result: dict[str, Any]) -> list[str]:
    title = "{model} {size} {precision} ({strategy}) on {device}".format(**result)
    lines = [
        f"{title}; peaks {result['matmul_peak_gflops'] / 1e3:.1f} TFLOP/s, {result['copy_peak_gbs']:.0f} GB/s",
    ]
    for name, row in result["points"].items():
        share = row["gflops"] / result["matmul_peak_gflops"]
        lines.append(f"network {name}: {1e3 * row['median_s']:.3f} ms, {row['gflops'] / 1e3:.1f} TFLOP/s, {share:.0%}")
    for name, row in result["end_to_end"].items():
        shares = ", ".join(f"{part} {share:.0%}" for part, share in row.get("shares", {}).items())
        size = f", {row['bytes']} bytes" if "bytes" in row else ""
        lines.append(f"end to end {name}: {row['fps']:.1f} fps, median {1e3 * row['median_s']:.2f} ms{size} {shares}")
    for part in ("modules", "stages", "fusion"):
        rows = result[part].items()
        if rows:
            lines.append(f"{part}, ms: " + ", ".join(f"{name} {1e3 * row['median_s']:.3f}" for name, row in rows))
    for name, about in result["official"].items():
        lines.append(f"{name}: {about}")
    return lines


def _training(result: dict[str, Any]) -> list[str]:
    memory = "" if result["peak_bytes"] is None else f", peak memory {result['peak_bytes'] / 1e9:.1f} GB"
    return [
        f"{result['stage']}, batch {result['batch']}, {result['size']}x{result['size']}, {result['precision']}: "
        f"{result['samples_per_second'] / result['batch']:.2f} steps/s, {result['samples_per_second']:.1f} clips/s, "
        f"{result['gflops'] / 1e3:.1f} TFLOP/s, {result['share_of_peak']:.0%} of "
        f"{result['matmul_peak_gflops'] / 1e3:.0f}; with input {result['samples_per_second_with_input']:.1f} clips/s, "
        f"input alone {result['input_alone_samples_per_second']:.0f}; compiled in {result['compile_s']:.0f} s{memory}"
    ]
