"""Build an extension of the official code into a folder: its entropy coder, or its CUDA kernels.

python tools/gpu/official.py coder|cuda --checkout DCVC/DCVC-family/DCVC-RT --site FOLDER

Builds a copy of the sources by their own setup.py. One declaration is narrowed in the copy, as nvcc 13 does not compile
it with the headers of PyTorch 2.11; no kernel changes.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

PLACES = {"coder": "src/cpp", "cuda": "src/layers/extensions/inference"}
# The operator is for vectors, but matches any two types, among them atomics in pybind11's headers.
_OPERATOR = "bool4 operator>(const T1& a, const T2& b)"
_NARROWED = "auto operator>(const T1& a, const T2& b) -> decltype(a.x > b, bool4())"


def main() -> int:
    """Build; the exit code is that of the build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=PLACES)
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--site", type=Path, required=True)
    options = parser.parse_args()
    site = options.site.resolve()
    sources = site.parent / f"official_{options.what}"
    shutil.copytree(options.checkout / PLACES[options.what], sources, dirs_exist_ok=True)
    environment = os.environ | {"MAX_JOBS": str(os.cpu_count())}
    if options.what == "cuda":
        import torch  # noqa: TID251 - only on machines that compare with it

        header = sources / "common.h"
        header.write_text(header.read_text().replace(_OPERATOR, _NARROWED))

        major, minor = torch.cuda.get_device_capability()
        environment["TORCH_CUDA_ARCH_LIST"] = f"{major}.{minor}"
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(site)]
    return subprocess.run(command, cwd=sources, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
