"""Chips to compile for in their absence: published figures, and the settings of XLA's compilers."""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from nvc_jax.errors import ConfigError
from nvc_jax.io.files import first_line

LAUNCH_S = 4e-6  # of a CUDA kernel outside of graphs; 3 to 5 us are usual
INSTALL = "pip install '.[compile]'"
_CUDA_PLUGINS = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")


@dataclasses.dataclass(frozen=True)
class Target:
    """A chip, by its published figures (dense).

    Attributes:
        name: for `--target`.
        platform: "cuda" or "tpu".
        peaks: operations per second of matrix products, by kind (`flops.count`).
        bandwidth: of device memory, bytes per second.
        memory_bytes: of device memory.
        description: XLA's target configuration for CUDA, as text.
        third_axis: topologies of this TPU have three axes.
    """

    name: str
    platform: str
    peaks: Mapping[str, float]
    bandwidth: float
    memory_bytes: float
    description: str = ""
    third_axis: bool = False

    def environment(self) -> dict[str, str]:
        """Make the environment to import JAX in. The process itself computes on its CPU."""
        common = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if self.platform == "tpu":
            # Skip the metadata server and the lock, as nothing runs on a TPU.
            return common | {
                "TPU_SKIP_MDS_QUERY": "1",
                "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
            }
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"  # it would need the device
        return common | {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "XLA_FLAGS": flags.strip()}

    def check_installed(self) -> None:
        """Refuse a target without its compiler.

        Raises:
            ConfigError: the compiler is not installed.
        """
        if self.platform == "tpu" and not _is_installed("libtpu"):
            raise ConfigError(f"compiling for {self.name} needs the package libtpu; {INSTALL}.")
        if self.platform == "cuda" and not any(map(_is_installed, _CUDA_PLUGINS)):
            raise ConfigError(f"compiling for {self.name} needs the packages jax-cuda12-plugin and -pjrt; {INSTALL}.")

    def devices(self, *grid: int) -> list[Any]:
        """Make abstract devices to compile for: one, or a grid of them.

        Raises:
            ConfigError: XLA's compiler for them does not start.
        """
        from jax.experimental import topologies  # after the environment was set

        self.check_installed()
        sides = grid or (1, 1)
        count = sides[0] * sides[1]
        try:
            if self.platform == "cuda":
                description = topologies.get_topology_desc(
                    platform="cuda", target_config=self.description, topology=f"1x1x{count}"
                )
            else:
                # One chip of a 2x2 board, as not every libtpu has smaller topologies.
                shape = (max(sides[0], 2), max(sides[1], 2), *[1] * self.third_axis)
                name = f"{self.name}:{'x'.join(map(str, shape))}"
                description = topologies.get_topology_desc(platform="tpu", topology_name=name)
        except Exception as error:  # plugins raise any type
            raise ConfigError(f"XLA's compiler for {self.name} does not start ({first_line(error)}).") from None
        return list(description.devices)[:count]

    def other_options(self, error: Exception) -> dict[str, bool]:
        """Choose options of XLA with which a failed program may compile; empty for none."""
        if self.platform == "cuda" and "output tile sizes" in str(error):
            return {"xla_gpu_enable_triton_gemm": False}  # tiles need autotuning, so a device; cuBLAS does not
        return {}

    def explain(self, error: Exception) -> str:
        """Explain a failed compilation in one sentence."""
        text = str(error)
        if self.platform == "cuda" and any(word in text for word in ("ptxas", "libdevice", "nvlink")):
            return f"compiling for {self.name} needs ptxas and libdevice, package nvidia-cuda-nvcc-cu12; {INSTALL}."
        return f"XLA cannot compile it for {self.name} ({first_line(error)})."


def find(name: str) -> Target:
    """Look up a target by name.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in TARGETS:
        raise ConfigError(f"unknown target {name!r}; available: {', '.join(TARGETS)}.")
    return TARGETS[name]


def versions() -> dict[str, str]:
    """Collect the versions of JAX and the installed compilers."""
    found = {}
    for package in (
        "jax",
        "jaxlib",
        "libtpu",
        "jax-cuda12-plugin",
        "jax-cuda13-plugin",
        "nvidia-cuda-nvcc-cu12",
        "nvidia-cuda-nvcc",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _cuda_description(
    name: str, capability: str, cores: int, clock_ghz: float, bandwidth: float, memory: int, l2: int, shared: int
) -> str:
    """Write XLA's `GpuTargetConfigProto` as text. shared: bytes of shared memory per SM."""
    major, minor = capability.split(".")
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared}
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: {64 if major == "8" else 128}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth:.0f}
  l2_cache_size: {l2}
  clock_rate_ghz: {clock_ghz}
  device_memory_size: {memory}
  shared_memory_per_block_optin: {shared - 1024}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
device_description_str: "{name}"
"""


def _cuda_peaks(half: float, tf32: float, int8: float, float32: float, int32: float) -> dict[str, float]:
    """Convert from tera-operations per second; float32 and int32 run outside of the tensor cores."""
    peaks = {"bfloat16": half, "float16": half, "float32_default": tf32, "int8": int8, "float32": float32}
    return {kind: 1e12 * peak for kind, peak in (peaks | {"int32": int32}).items()}


def _tpu_peaks(bfloat16: float, int8: float) -> dict[str, float]:
    """Convert from tera-operations per second; float32 is one bfloat16 pass, six at the highest precision."""
    peaks = {"bfloat16": bfloat16, "float16": bfloat16, "float32_default": bfloat16, "int8": int8}
    return {kind: 1e12 * peak for kind, peak in (peaks | {"float32": bfloat16 / 6.0}).items()}


_HOPPER = _cuda_peaks(989.0, 494.5, 1979.0, 66.9, 33.4)
_GB = 1e9

TARGETS = {
    target.name: target
    for target in (
        Target(
            "h100",
            "cuda",
            _HOPPER,
            3.35e12,
            80 * _GB,
            _cuda_description("NVIDIA H100 80GB HBM3", "9.0", 132, 1.98, 3.35232e12, 84942979072, 52428800, 233472),
        ),
        Target(
            "h200",
            "cuda",
            _HOPPER,
            4.8e12,
            141 * _GB,
            _cuda_description("NVIDIA H200", "9.0", 132, 1.98, 4.8e12, 150754820096, 52428800, 233472),
        ),
        Target(
            "a100",
            "cuda",
            _cuda_peaks(312.0, 156.0, 624.0, 19.5, 19.5),
            2.04e12,
            80 * _GB,
            _cuda_description("NVIDIA A100-SXM4-80GB", "8.0", 108, 1.41, 2.039e12, 85899345920, 41943040, 167936),
        ),
        Target("v5e", "tpu", _tpu_peaks(197.0, 394.0), 0.82e12, 16 * _GB),
        Target("v5p", "tpu", _tpu_peaks(459.0, 918.0), 2.77e12, 95 * _GB, third_axis=True),
        Target("v6e", "tpu", _tpu_peaks(918.0, 1836.0), 1.64e12, 32 * _GB),
        Target("v4", "tpu", _tpu_peaks(275.0, 275.0), 1.2e12, 32 * _GB, third_axis=True),
    )
}
