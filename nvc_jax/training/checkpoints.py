"""Save and restore the training state, which includes the position in the data, through Orbax."""

import shutil
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from nvc_jax.codec.store import this_process_alone
from nvc_jax.errors import TrainingError
from nvc_jax.io.files import first_line, make_folder
from nvc_jax.training.config import Logging


class Checkpoints:
    """Checkpoints of a run, saved asynchronously by one process; the last few are kept."""

    def __init__(self, folder: Path, logging: Logging) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=logging.keep,
            multiprocessing_options=this_process_alone(),
            create=False,
        )
        make_folder(folder)
        for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):  # left by a killed process
            shutil.rmtree(unfinished, ignore_errors=True)
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def latest(self) -> int | None:
        """Find the step of the last checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Start writing a checkpoint, which counts once it is complete.

        Args:
            step: number of steps done.
            state: `TrainState` of NumPy arrays.

        Raises:
            TrainingError: this checkpoint or the one before cannot be written.
        """
        try:
            self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))
        except Exception as error:  # also one of the write before, in the background
            raise TrainingError(
                f"{self._folder}: cannot save the checkpoint of step {step} ({first_line(error)})."
            ) from None

    def remove(self, step: int) -> None:
        """Delete a checkpoint."""
        self._manager.delete(step)

    def restore(self, step: int, like: Any) -> Any:
        """Restore the state at a step.

        Raises:
            TrainingError: the checkpoint cannot be read.
        """
        try:
            found = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))
        except Exception as error:  # Orbax and TensorStore raise many types for a damaged directory
            raise TrainingError(
                f"{self._folder}: cannot read the checkpoint of step {step} ({first_line(error)}); remove it to "
                "resume from the one before."
            ) from None
        return found["state"]

    def close(self) -> None:
        """Wait until all checkpoints are written.

        Raises:
            TrainingError: a checkpoint cannot be written.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except Exception as error:
            raise TrainingError(f"{self._folder}: cannot save the last checkpoint ({first_line(error)}).") from None
