"""Run the official PyTorch code in a child process, by an interpreter that has PyTorch."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.benchmark.sequence import DROPPED
from nvc_jax.codec.store import StoredModel
from nvc_jax.convert.checkpoint import params_to_official
from nvc_jax.convert.pth import write_pth
from nvc_jax.errors import ConfigError
from nvc_jax.io.files import explained
from nvc_jax.models.codecs import dcvc_rt
from nvc_jax.spec import PICTURE_STRIDE
from nvc_jax.video import YuvFrame

# Ways in which it runs beside that which its authors chose, by their names in results: options of the worker.
GPU_WAYS = {"official plain": ("--plain",)}  # without its CUDA extension
CPU_WAYS = {
    "official channels_last": ("--channels-last",),
    "official bfloat16 channels_last": ("--precision", "bfloat16", "--channels-last"),
}


class OfficialCode:
    """A running worker (`tools/bench_torch.py`).

    Attributes:
        about: reported by it: versions, device, precision, layout, its CUDA extension and its entropy coder.
    """

    def __init__(
        self,
        python: str,
        worker: Path,
        checkout: str,
        size: tuple[int, int],
        model: StoredModel,
        way: Sequence[str] = (),
    ) -> None:
        """Start the worker, with the weights of the model if its architecture is the official one.

        Args:
            python: interpreter that has PyTorch.
            worker: script for the interpreter.
            checkout: folder DCVC-family/DCVC-RT.
            size: (width, height).
            model: ours.
            way: options of the worker, one of those in GPU_WAYS or CPU_WAYS.

        Raises:
            ConfigError: the worker does not start.
        """
        self._folder = tempfile.TemporaryDirectory()
        arguments = [python, str(worker), checkout, *map(str, size), *way]
        if model.config.networks == dcvc_rt.networks and model.precision == "float32":
            files = [Path(self._folder.name) / f"{name}.pth" for name in ("image", "video")]
            for file, state_dict in zip(files, params_to_official(model.config, model.params), strict=True):
                write_pth(file, state_dict)
            arguments += ["--weights", *map(str, files)]
        with explained(ConfigError, f"{python}: does not start", "; set --torch-python."):
            self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.about: dict[str, Any] = self._answer()
        except ConfigError:
            self.close()
            raise

    def ask(self, *command: str) -> Any:
        """Send a command and read the answer.

        Raises:
            ConfigError: the worker has ended.
        """
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, and does not answer
            self._process.stdin.write(" ".join(command) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ConfigError("the official code has ended; its output is above.")
        return json.loads(line)

    def sequence(self, frames: Sequence[YuvFrame]) -> dict[str, dict[str, Any]]:
        """Encode and decode frames by its own rules; empty on a failure, which `about` then reports."""
        file = Path(self._folder.name) / "frames.npy"
        np.save(file, np.stack([_picture(frame) for frame in frames]))
        try:
            runs = {"encode": self.ask("encode_sequence", str(file)), "decode": self.ask("decode_sequence")}
        except ConfigError as error:
            self.about["failure"] = str(error)  # our results are kept
            return {}
        for run in runs.values():
            run["all_s"] = run["all_s"][DROPPED:]
            run["fps"] = len(run["all_s"]) / sum(run["all_s"])
            run["median_s"] = float(np.median(run["all_s"]))
        return runs

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


def _picture(frame: YuvFrame) -> npt.NDArray[np.uint8]:
    """Convert a frame to padded 4:4:4 [3, H', W']."""
    height, width = frame.y.shape
    chroma = [plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width] for plane in (frame.u, frame.v)]
    bottom, right = -height % PICTURE_STRIDE, -width % PICTURE_STRIDE
    return np.pad(np.stack([frame.y, *chroma]), ((0, 0), (0, bottom), (0, right)), mode="edge")
