"""Pack a training run into few files of limited size.

python tools/gpu/pack.py --workdir RUN --output FOLDER --json OUT.json [--file-mib 15] [--files 5]

model.tar.gz is the exported model, records.tar.gz the metrics, checkpoint.tar.gz.00 and so on the last checkpoint, to
resume from after `cat checkpoint.tar.gz.* | tar xz` in the folder of the run. Archives of too many files are skipped.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

_RECORDS = ("metrics.jsonl", "speed.jsonl", "evaluation.jsonl", "config.json", "clips.json")


def packed(root: Path, members: list[Path]) -> bytes:
    """Make a tar.gz of files and folders."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
        for member in members:
            archive.add(member, str(member.relative_to(root)))
    return file.getvalue()


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--file-mib", type=float, default=15.0)
    parser.add_argument("--files", type=int, default=5, help="at most")
    options = parser.parse_args()
    run, limit = options.workdir, int(options.file_mib * (1 << 20))
    checkpoints = sorted((p for p in (run / "checkpoints").glob("[0-9]*") if p.is_dir()), key=lambda p: int(p.name))
    small = [run / name for name in _RECORDS if (run / name).exists()]
    groups = {
        "model.tar.gz": [run / "model"] if (run / "model").exists() else [],
        "records.tar.gz": small,
        "checkpoint.tar.gz": [*small, *checkpoints[-1:]] if checkpoints else [],
    }
    lines, left = [], options.files
    for name, members in groups.items():
        if not members:
            lines.append(f"{name}: nothing to pack")
            continue
        data = packed(run, members)
        parts = [data[i : i + limit] for i in range(0, len(data), limit)]
        if len(parts) > left:
            lines.append(f"{name}: {len(data)} bytes would be {len(parts)} files, with {left} allowed; not written")
            continue
        names = [name] if len(parts) == 1 else [f"{name}.{number:02}" for number in range(len(parts))]
        for part_name, part in zip(names, parts, strict=True):
            (options.output / part_name).write_bytes(part)
        left -= len(parts)
        lines.append(f"{', '.join(names)}: {len(data)} bytes of {', '.join(member.name for member in members)}")
    metrics = run / "metrics.jsonl"
    if metrics.exists():
        lines += [line[:300] for line in metrics.read_text().splitlines()[-2:]]
    options.json.write_text(json.dumps({"lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
