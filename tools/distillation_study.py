"""Compare kinds of distillation: the same student with the same start, data and number of steps, over seeds.

python tools/distillation_study.py --config kd_small:s --teacher DIR --data FOLDER --videos 'eval/*.mkv' --output DIR

Each run is one of train.py in OUTPUT/runs; its model is measured by estimated rates (nvc-jax evaluate --estimate) and
compared with the teacher. `none` is direct training: from the same start, without the teacher's features. The same
command goes on where it was stopped; study.json and study.md have the results so far.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import jax
from start_student import start_model

from nvc_jax.cli.program import run_command
from nvc_jax.codec.runtime import prepare_process
from nvc_jax.codec.store import load_model, save_model
from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.bd_rate import BdRate, compare
from nvc_jax.evaluation.command import DEFAULT_QPS
from nvc_jax.evaluation.results import write_json
from nvc_jax.evaluation.sequences import from_files
from nvc_jax.io.files import atomic_output, make_folder
from nvc_jax.search.loss import curves
from nvc_jax.training.records import METRICS, SPEED
from nvc_jax.training.run import train
from nvc_jax.training.settings import load_config, override

KINDS = {
    "none": "direct training",
    "mse": "features, mean squared error",
    "efd": "energy signatures of features",
    "picture": "decoded pictures",
}
LAST = 50  # steps whose mean loss is reported


def main():
    """Run or go on; the exit code is 1 for bad input, 128 + N after signal N."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="recipe of the student")
    parser.add_argument("--teacher", required=True, help="model directory or packaged model")
    parser.add_argument("--data", required=True, help="training clips (data.source)")
    parser.add_argument("--videos", nargs="+", required=True, metavar="GLOB", help="videos to evaluate on")
    parser.add_argument(
        "--kinds", nargs="+", default=["none", "mse", "efd"], metavar="KIND[:WEIGHT]",
        help=f"of {', '.join(KINDS)}; WEIGHT replaces stages.N.distil of the stages with a teacher",
    )  # fmt: skip
    parser.add_argument(
        "--start", choices=("slices", "agreeing"), default="slices",
        help="of all runs: the teacher's parameters that agree in shape, with or without slices of the others "
        "(default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--qps", nargs="+", type=int, default=list(DEFAULT_QPS), metavar="Q")
    parser.add_argument("--frames", type=int, default=32, metavar="N", help="of every video (default %(default)s)")
    parser.add_argument("--output", required=True)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all runs")
    return run_command(parser, lambda options: Study(options).go(), intermixed=True)


class Study:
    """All runs and their results."""

    def __init__(self, options):
        """Prepare; nothing is written.

        Raises:
            NvcError: the settings do not fit.
        """
        self.options = options
        self.folder = Path(options.output)
        shared = [*options.overrides, f"data.source={options.data}", f"teacher.model={options.teacher}"]
        self.config = override(load_config(options.config), shared)
        self.kinds = dict(map(parsed_kind, options.kinds))
        self.teacher = load_model(options.teacher)
        self.videos = [dataclasses.replace(video, frames=options.frames) for video in from_files(options.videos)]

    def go(self):
        """Make all runs, seed by seed, so that an early end leaves comparable results."""
        prepare_process()
        make_folder(self.folder)
        say("teacher: measuring")
        anchor = self.measure(self.options.teacher)
        rows = []
        for seed in self.options.seeds:
            start = self.start(seed)
            for name, (kind, weight) in self.kinds.items():
                workdir = self.folder / "runs" / f"{name.replace(':', '_')}_seed{seed}"
                config = self.of_run(kind, weight, seed, start)
                say(f"{name}, seed {seed}: training")
                outcome = train(config, workdir, None, say)
                if outcome.signal is not None:
                    say(f"stopped by {outcome.signal.name}; the same command goes on from there")
                    return 128 + outcome.signal
                say(f"{name}, seed {seed}: measuring")
                rows.append(
                    {"kind": name, "seed": seed, **self.compared(anchor, str(outcome.model)), **of_logs(workdir)}
                )
                self.write(rows)
                jax.clear_caches()  # the programs of nine runs take all memory maps that Linux gives a process
        print(table(rows), end="")
        return 0

    def start(self, seed):
        """Make the model that the runs of a seed start from, where it is not there; empty for what agrees."""
        if self.options.start == "agreeing":
            return ""
        folder = self.folder / "start" / f"seed{seed}"
        if not (folder / "config.json").exists():
            make_folder(folder.parent)
            save_model(folder, start_model(self.options.teacher, self.config.codec, seed))
        return str(folder)

    def of_run(self, kind, weight, seed, start):
        """Configure a run."""
        config = override(self.config, [f"teacher.kind={kind}", f"seed={seed}", f"init={start}"])
        if weight is None:
            return config
        stages = tuple(dataclasses.replace(s, distil=weight if s.distil else 0.0) for s in config.stages)
        return dataclasses.replace(config, stages=stages)

    def measure(self, model):
        """Measure a model at all qps, except for points that are there already.

        Raises:
            EvaluationError: a point cannot be measured.
        """
        folder = self.folder / "points" / load_model(model).identity[:12]
        return curves(model, self.options.qps, self.videos, folder)

    def compared(self, anchor, model):
        """Compare a model with the teacher."""
        comparison = compare(anchor, self.measure(model))
        found = {"/".join(key): value for key, value in comparison.sequences.items()}
        return {
            "identity": load_model(model).identity,
            "bd_rate": None if comparison.missing() else comparison.average,
            "sequences": {name: v.percent if isinstance(v, BdRate) else None for name, v in found.items()},
        }

    def write(self, rows):
        """Write what there is so far."""
        settings = {
            key: getattr(self.options, key) for key in ("config", "teacher", "data", "videos", "qps", "frames", "start")
        }
        settings |= {"overrides": self.options.overrides, "teacher_identity": self.teacher.identity}
        write_json(self.folder / "study.json", {"settings": settings, "runs": rows})
        with atomic_output(self.folder / "study.md") as file:
            file.write(table(rows).encode())


def parsed_kind(text):
    """Parse KIND[:WEIGHT]: the text and both parts.

    Raises:
        ConfigError: there is no such kind, or the weight is no number above 0.
    """
    kind, colon, weight = text.partition(":")
    try:
        value = float(weight) if colon else None
    except ValueError:
        value = 0.0
    if kind not in KINDS or (value is not None and not value > 0):
        raise ConfigError(f"--kinds has {text!r}; give {', '.join(KINDS)}, or one of them with a weight, as efd:0.5.")
    return text, (kind, value)


def of_logs(workdir):
    """Seconds of all steps, and mean loss of the last ones."""
    records = [json.loads(line) for line in (workdir / METRICS).read_text().splitlines()]
    speeds = [json.loads(line)["samples_per_second"] for line in (workdir / SPEED).read_text().splitlines()]
    batches = {stage["name"]: stage["batch"] for stage in json.loads((workdir / "config.json").read_text())["stages"]}
    seconds = sum(batches[record["stage"]] / speed for record, speed in zip(records, speeds, strict=True))
    losses = [record["loss"] for record in records[-LAST:] if record["loss"] is not None]
    distances = [record["distillation"] for record in records if record.get("distillation") is not None]
    result = {"steps": len(records), "seconds": seconds, "loss": statistics.mean(losses)}
    if distances:
        result |= {
            "distance_first": statistics.mean(distances[:LAST]),
            "distance_last": statistics.mean(distances[-LAST:]),
        }
    return result


def table(rows):
    """Show the results in Markdown: one row for each kind, over its seeds."""
    by_kind = defaultdict(list)
    for row in rows:
        by_kind[row["kind"]].append(row)
    lines = [
        "| distillation | BD-rate against the teacher | mean | standard deviation | minutes |",
        "|---|---|---|---|---|",
    ]
    for name, runs in by_kind.items():
        kind, _, weight = name.partition(":")
        rates = [run["bd_rate"] for run in runs]
        known = [rate for rate in rates if rate is not None]
        mean = f"{statistics.mean(known):+.1f} %" if known else "none"
        spread = f"{statistics.stdev(known):.1f}" if len(known) > 1 else ""
        shown = ", ".join("none" if rate is None else f"{rate:+.1f} %" for rate in rates)
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        label = KINDS[kind] + (f", weight {weight}" if weight else "")
        lines.append(f"| {label} | {shown} | {mean} | {spread} | {minutes:.1f} |")
    return "\n".join(lines) + "\n"


def say(text):
    """Tell the user."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
