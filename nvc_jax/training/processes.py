"""Join the processes of a run, and replicate its state on their devices."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from nvc_jax.errors import ConfigError, TrainingError
from nvc_jax.io.files import first_line

DEVICES = "devices"  # the axis of pmap

_SLURM = "SLURM_NTASKS"
_TPU_HOSTS = ("TPU_WORKER_HOSTNAMES", "MEGASCALE_COORDINATOR_ADDRESS")


Result = TypeVar("Result")


def join(coordinator: str | None, processes: int | None, number: int | None) -> bool:
    """Join the processes of a run, before any use of a device.

    Args:
        coordinator: HOST:PORT of process 0; None joins the processes of SLURM or the TPU runtime, if any.
        processes: their number.
        number: index of this process.

    Returns:
        True if there are other processes.

    Raises:
        ConfigError: the arguments are inconsistent, or the other processes cannot be reached.
    """
    given = (coordinator, processes, number)
    if any(value is not None for value in given):
        if coordinator is None or processes is None or number is None or not 0 <= number < processes:
            raise ConfigError(
                "give `coordinator` HOST:PORT, `num_processes` N and `process_id` 0 to N-1 together, or none of them."
            )
    elif not _is_started_by_a_cluster():
        return False
    with contextlib.suppress(AttributeError):  # the default of newer versions
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    try:
        jax.distributed.initialize(*given) if coordinator else jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot join the processes of the run ({first_line(error)}).") from None
    return jax.process_count() > 1


def _is_started_by_a_cluster() -> bool:
    if int(os.environ.get(_SLURM, "1")) > 1 and "SLURM_PROCID" in os.environ:
        return True
    return any("," in os.environ.get(name, "") or ("MEGASCALE" in name and name in os.environ) for name in _TPU_HOSTS)


def together(work: Callable[[], tuple[Result, str]]) -> Result:
    """Run `work` in every process and wait for all of them.

    Args:
        work: computes a result and a text, which must be the same in all processes.

    Raises:
        TrainingError: `work` failed in another process.
        ConfigError: the texts differ.
    """
    failure, digest = None, bytes(32)
    try:
        result, text = work()
        digest = hashlib.sha256(text.encode()).digest()
    except Exception as error:
        failure = error
    if jax.process_count() > 1:
        digests = np.asarray(multihost_utils.process_allgather(np.frombuffer(digest, np.uint32)))
        failed = [number for number, words in enumerate(digests) if not words.any()]
        if failed and failure is None:
            raise TrainingError(f"process {failed[0]} cannot start the run; see its own message.")
        if not failed and (digests != digests[0]).any():
            raise ConfigError("the processes differ in configuration, `steps` or training clips; make them the same.")
    if failure is not None:
        raise failure
    return result


def is_first() -> bool:
    """Tell whether this process writes the files of the run."""
    return jax.process_index() == 0


def on_all(tree: Any) -> Any:
    """Replicate the host tree of process 0 on every device, with a leading axis of local devices."""
    if jax.process_count() > 1:
        tree = multihost_utils.broadcast_one_to_all(tree)
    count = jax.local_device_count()
    copies = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (count, *np.shape(leaf))), tree)
    # Naming the axis gives the copies the step's output layout, so it compiles once.
    return jax.pmap(lambda leaf: leaf, axis_name=DEVICES)(copies)


def from_first(tree: Any) -> Any:
    """Copy a tree from the first local device to NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree)
