"""Install missing wheels and our C++ into a folder, without a network.

python tools/gpu/install.py wheels|native --site FOLDER [--wheels FOLDER]

Wheels are in the folder or in its wheels.tar.xz. Packages that the environment has in a version allowed by
pyproject.toml are left alone. The C++ is built with the headers of the installed jaxlib.
"""

import argparse
import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def allowed_versions() -> dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]]:
    """Read the lowest version that pyproject.toml allows and the first it does not, by lower-case name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = itertools.chain.from_iterable(project["optional-dependencies"].values())
    requirements = [*project["dependencies"], *optional]
    found = (re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<([\d.]+))?", requirement) for requirement in requirements)
    return {
        match[1].lower(): (_version(match[2]), _version(match[3]) if match[3] else None) for match in found if match
    }


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def is_installed(name: str, site: Path) -> bool:
    """Tell whether environment or folder have a package in a version allowed by pyproject.toml."""
    paths = [str(site), *sys.path]
    found = next(iter(importlib.metadata.distributions(name=name, path=paths)), None)
    lowest, beyond = allowed_versions().get(name.lower(), ((), None))
    if found is None or _version(found.version) < lowest:
        return False
    return beyond is None or _version(found.version) < beyond


def install_wheels(folder: Path, site: Path) -> None:
    """Install the missing wheels."""
    with tempfile.TemporaryDirectory() as unpacked:
        for archive in folder.glob("*.tar.xz"):
            with tarfile.open(archive) as file:
                file.extractall(unpacked, filter="data")
        wheels = [*folder.glob("*.whl"), *Path(unpacked).glob("*.whl")]
        missing = [wheel for wheel in wheels if not is_installed(wheel.name.split("-")[0].replace("_", "-"), site)]
        print("to install:", ", ".join(wheel.name for wheel in missing) or "nothing")
        if missing:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
            subprocess.run([*pip, "--no-cache-dir", "--upgrade", "--target", str(site), *map(str, missing)], check=True)


def build_native(site: Path) -> None:
    """Build the C++ incrementally and install it into the folder."""
    build = site.parent / "native_build"
    commands = _tool("cmake"), "-S", str(ROOT / "native_coder"), "-B", str(build)
    cmake_dir = subprocess.run(
        [sys.executable, "-m", "pybind11", "--cmakedir"], check=True, capture_output=True, text=True
    ).stdout.strip()
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}"] if _tool("ninja") else []
    options = [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={cmake_dir}", "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([*commands, *generator, *options], check=True)
    subprocess.run([_tool("cmake"), "--build", str(build), "--parallel", str(os.cpu_count())], check=True)
    subprocess.run([_tool("cmake"), "--install", str(build), "--prefix", str(site)], check=True)
    for file in ("__init__.py", "py.typed"):
        shutil.copy(ROOT / "native_coder" / file, site / "native_coder" / file)


def _tool(name: str) -> str:
    """Find a program beside the interpreter or on the path; empty if missing."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or ""


def main() -> None:
    """Install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("wheels", "native"))
    parser.add_argument("--site", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args()
    options.site.mkdir(parents=True, exist_ok=True)
    if options.what == "native":
        build_native(options.site.resolve())
    elif options.wheels:
        install_wheels(options.wheels, options.site.resolve())


if __name__ == "__main__":
    main()
