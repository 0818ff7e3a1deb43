"""Gather the inputs of a machine without a network: wheels, clips, streams of this CPU, golden vectors.

Called by `gpu_run.py prepare`, in an environment where the project is installed.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from gpu.phases import ROOT

WHEELS = ("av", "grain", "array_record", "platformdirs", "tensorboardX", "portpicker")
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_GOLDEN = (
    "weights.py", "shapes_image.json", "shapes_video.json", "fingerprints.json", "streams.json",
    "video_96x64_qp32_thr012.npz", "stream_a_96x64_qp50-50*", "stream_a_96x64_s308_input.npz",
    "stream_c_130x98_qp55-63*", "stream_c_130x98_s308_input.npz",
)  # fmt: skip
_LIMIT = 64 << 20  # bytes of the tracked files and the inputs


def prepare(options: argparse.Namespace) -> None:
    """Fill the folder, overwriting its parts, and report sizes."""
    folder = options.output.resolve()
    parts = {name: folder / name for name in ("wheels", "clips", "expected", "golden", "official")}
    wheels(parts["wheels"], options.python_version)
    clip(parts["clips"], options.frames)
    from gpu.expected import make_expected

    make_expected(parts["expected"])
    if options.golden:
        parts["golden"].mkdir(parents=True, exist_ok=True)
        for pattern in _GOLDEN:
            for file in options.golden.glob(pattern):
                shutil.copy(file, parts["golden"])
    if options.official:
        shutil.copytree(options.official / "src", parts["official"] / "src", dirs_exist_ok=True)
    if options.data:
        parts["data"] = folder / "data"
        shutil.copytree(options.data, parts["data"], dirs_exist_ok=True)
    report(parts)


def wheels(folder: Path, python_version: str) -> None:
    """Download wheels for x86-64 Linux into one xz archive, two thirds of their zipped size."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloaded:
        where = [f"--platform={platform}" for platform in _PLATFORMS]
        command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp"]
        version = f"--python-version={python_version}"
        names = [f"{name}=={metadata.version(name)}" for name in WHEELS]  # versions tested here
        subprocess.run([sys.executable, *command, version, *where, "--dest", downloaded, *names], check=True)
        with tarfile.open(folder / "wheels.tar.xz", "w:xz") as archive:
            for wheel in sorted(Path(downloaded).glob("*.whl")):
                _store(wheel)
                archive.add(wheel, wheel.name)
                print(wheel.name)


def _store(wheel: Path) -> None:
    """Store a wheel uncompressed, for better compression of the archive."""
    plain = wheel.with_suffix(".plain")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(plain, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            name = zipfile.ZipInfo(entry.filename, entry.date_time)
            name.external_attr = entry.external_attr
            target.writestr(name, source.read(entry))
    plain.replace(wheel)


def clip(folder: Path, frames: int, size: tuple[int, int] = (1920, 1080)) -> None:
    """Write a natural moving picture at full size."""
    from nvc_jax.demo.sequence import write_demo

    write_demo(folder / "moving.mkv", *size, frames)


def report(parts: dict[str, Path]) -> None:
    """Report sizes, and whether everything fits one transfer."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    total = sum((ROOT / name.decode()).stat().st_size for name in tracked.split(b"\0") if name)
    print(f"{'tracked files':16}{total / (1 << 20):8.1f} MiB")
    for name, folder in parts.items():
        size = sum(file.stat().st_size for file in folder.glob("**/*") if file.is_file())
        total += size
        print(f"{name:16}{size / (1 << 20):8.1f} MiB  {folder}")
    print(f"{'all':16}{total / (1 << 20):8.1f} MiB of {_LIMIT >> 20}")
    if total > _LIMIT:
        print("gpu_run.py: too much for one transfer; send the data with a second call.", file=sys.stderr)
