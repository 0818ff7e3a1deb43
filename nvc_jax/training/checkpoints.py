"""Checkpoints of a run: the state of training and the place in the data, through Orbax."""

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from nvc_jax.codec.store import this_process_alone
from nvc_jax.errors import TrainingError
from nvc_jax.files import make_folder
from nvc_jax.training.config import Logging


class Checkpoints:
    """Those of a run, in the process that writes them. Saving goes on in the background; the last few are kept."""

    def __init__(self, folder: Path, logging: Logging) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=logging.keep,
            multiprocessing_options=this_process_alone(),
            create=False,
            cleanup_tmp_directories=True,
        )
        make_folder(folder)
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def latest(self) -> int | None:
        """Steps of the run at the last checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, place: dict[str, Any]) -> None:
        """Write a checkpoint; it counts once it is complete.

        Args:
            step: steps of the run before it.
            state: `TrainState` of NumPy arrays.
            place: state of the iterator over the data.
        """
        try:
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(place))
            )
        except (OSError, ValueError) as error:
            raise TrainingError(f"{self._folder}: cannot save the checkpoint of step {step} ({error}).") from None

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """State and place in the data.

        Raises:
            TrainingError: the checkpoint cannot be read.
        """
        try:
            found = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like), data=ocp.args.JsonRestore())
            )
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged directory
            first_line = next(iter(str(error).splitlines()), type(error).__name__)
            raise TrainingError(
                f"{self._folder}: cannot read the checkpoint of step {step} ({first_line[:160]}); remove it to go on "
                "from the one before."
            ) from None
        return found["state"], found["data"]

    def close(self) -> None:
        """Wait until all is written."""
        self._manager.wait_until_finished()
        self._manager.close()
