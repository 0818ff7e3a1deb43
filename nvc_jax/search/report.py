"""The result of a search as Markdown, and the table of candidates of a codec."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nvc_jax.evaluation.complexity import Complexity, packet_complexity
from nvc_jax.io.files import atomic_output
from nvc_jax.models.config import CodecConfig
from nvc_jax.search.frontier import pairs_in_order
from nvc_jax.search.plots import architecture_figure, frontier_figure
from nvc_jax.search.variants import INTER, PAPER, candidates, named, swapped


def write_report(folder: Path, result: Mapping[str, Any]) -> str:
    """Write search.md and the plots into a folder, and give the Markdown."""
    text = markdown(result)
    contents = {
        "search.md": text.encode(),
        "frontiers.png": frontier_figure(result),
        "architectures.png": architecture_figure(result),
    }
    for name, content in contents.items():
        with atomic_output(folder / name) as file:
            file.write(content)
    return text


def markdown(result: Mapping[str, Any]) -> str:
    """Show a search as Markdown."""
    settings, machine = result["settings"], result["machine"]
    size = "{}x{}".format(*settings["speed_size"])
    parts = [
        f"# Search of a student of {result['teacher']}",
        f"{result['date']}, {machine['device']} ({machine['cpu']}), {settings['precision']}; decoding of {size} "
        f"without the entropy coder. Each candidate: {settings['steps']} steps of {settings['batch']} clips of "
        f"{settings['clip_frames']} pictures {settings['crop']}x{settings['crop']}; BD-rate against the teacher on "
        f"{len(settings['videos'])} videos of {settings['frames']} frames at the qps {_list(settings['qps'])}.",
        "## Candidates",
        _candidates(result),
        *result["notes"],
        "## Chosen",
        _chosen(result),
    ]
    if "check" in result:
        parts += ["## Predicted and measured losses", *_check(result)]
    if result.get("uniform"):
        parts += ["## The same share of all widths instead", _uniform(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _candidates(result: Mapping[str, Any]) -> str:
    rows = []
    for row in result["candidates"]:
        on_frontier = row["name"] in result["frontiers"][row["module"]]
        loss = f"none ({row['reason']})" if row["loss"] is None else f"{row['loss']:+.1f} %"
        name = " = ".join([row["name"], *row["also"]])
        figures = f"{row['parameters'] / 1e6:.3f} M", f"{row['decode_kmac']:.1f}", _faster(row["speedup"]), loss
        rows.append((row["module"], name, *figures, "yes" if on_frontier else ""))
    header = "module", "variant", "parameters", "decode kMAC/pixel", "decodes faster by", "BD-rate", "on the frontier"
    whole = result["teacher_complexity"]
    first = "", result["teacher"], f"{whole['parameters'] / 1e6:.3f} M", f"{whole['decode_kmac']:.1f}", "", "", ""
    return table(header, [first, *rows])


def _chosen(result: Mapping[str, Any]) -> str:
    rows = []
    for target, row in result["chosen"].items():
        name = f"target {_faster(1 + float(target))}"
        if row is None:
            rows.append((name, "none reaches it", *[""] * 6))
            continue
        kmac = f"{row['parameters'] / 1e6:.3f} M", f"{row['decode_kmac']:.1f}"
        rows.append((name, row["label"], *kmac, _faster(row["measured_speedup"]), *_prediction(row)))
    for name, row in result["paper"].items():
        if "efficiency" not in row:
            rows.append((f"the paper's {name}", row["reason"], *[""] * 6))
        else:
            rows.append((f"the paper's {name}", row["label"], "", "", "", *_prediction(row)))
    header = (
        "", "extractor; decoder; reconstruction", "parameters", "decode kMAC/pixel", "measured", "predicted",
        "predicted BD-rate", "efficiency",
    )  # fmt: skip
    return table(header, rows)


def _prediction(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return _faster(row["speedup"]), f"{row['predicted_loss']:+.1f} %", f"{row['efficiency']:.3f}"


def _check(result: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            row["label"],
            _faster(row["speedup"]),
            _faster(row["measured_speedup"]),
            f"{row['predicted_loss']:+.1f} %",
            f"none ({row['reason']})" if row["loss"] is None else f"{row['loss']:+.1f} %",
        )
        for row in result["check"]
    ]
    known = [row for row in result["check"] if row["loss"] is not None]
    in_order, pairs = pairs_in_order([r["predicted_loss"] for r in known], [r["loss"] for r in known])
    errors = [abs(row["loss"] - row["predicted_loss"]) for row in known]
    about = f"Prediction and measurement put {in_order} of {pairs} pairs in the same order."
    if errors:
        about += f" They differ by {sum(errors) / len(errors):.1f} points on average."
    header = "extractor; decoder; reconstruction", "predicted", "measured", "predicted BD-rate", "measured BD-rate"
    return [table(header, rows), about]


def _uniform(result: Mapping[str, Any]) -> str:
    rows = []
    for target, row in result["uniform"].items():
        loss, beside = ("none" if value is None else f"{value:+.1f} %" for value in (row["loss"], row["loss_beside"]))
        figures = f"{row['parameters'] / 1e6:.3f} M", f"{row['decode_kmac']:.1f}", _faster(row["measured_speedup"])
        rows.append((f"target {_faster(1 + float(target))}", row["share"], *figures, loss, beside))
    header = (
        "", "share of widths", "parameters", "decode kMAC/pixel", "decodes faster by", "BD-rate",
        "BD-rate of the chosen one",
    )  # fmt: skip
    return table(header, rows)


def candidate_table(codec: CodecConfig) -> str:
    """Parameters and multiply-accumulates of every candidate of a codec, each alone, and of the paper's students.

    Raises:
        ConfigError: the codec has no network to search.
    """
    found, notes = candidates(codec)
    rows = [("", codec.name, "", *_counts(packet_complexity(codec, INTER)))]
    for candidate in found:
        stacks = ", ".join(
            f"{stack.blocks} x {stack.width}" + (f", FFN x {stack.middle}" if stack.middle != 4 else "")
            for stack in candidate.stacks
        )
        counts = _counts(packet_complexity(swapped(codec, [candidate]), INTER))
        rows.append((candidate.module, candidate.label, stacks, *counts))
    for name, variants in PAPER.items():
        chosen = [named(found, module, variant) for module, variant in variants.items() if _has(found, module, variant)]
        if len(chosen) == len(variants):
            counts = _counts(packet_complexity(swapped(codec, chosen), INTER))
            rows.append(("all", name, "; ".join(variants.values()), *counts))
    return "\n\n".join([table(("module", "variant", "blocks", "parameters", "decode kMAC/pixel"), rows), *notes])


def _has(found: Iterable[Any], module: str, name: str) -> bool:
    return any(c.module == module and name in (c.name, *c.also) for c in found)


def _counts(complexity: Complexity) -> tuple[str, str]:
    return f"{complexity.total.parameters / 1e6:.3f} M", f"{complexity.total.decode / 1e3:.1f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _faster(speedup: float) -> str:
    return f"{100 * (speedup - 1):.0f} %"


def _list(values: Iterable[object]) -> str:
    return " ".join(map(str, values))
