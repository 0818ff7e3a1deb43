"""Run steps one after the other, each in a process with a time limit, and record their outcomes."""

import dataclasses
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu.summary import lines_of

_GRACE_S = 10  # from SIGTERM to SIGKILL
_LOG_LINES = 12  # of a failed step, in the summary


@dataclasses.dataclass(frozen=True)
class Step:
    """A program to run.

    Attributes:
        phase: phase of the step.
        name: unique in the phase.
        command: arguments; `{json}` stands for the file of its results, `{folder}` for a folder beside it.
        seconds: time limit.
        stop_s: time before the limit at which it gets SIGTERM.
        needs: steps of any phase, as "phase/name", that must be done; those in the background are awaited.
        awaits: steps that are awaited and may fail.
        background: runs beside later steps.
        always: runs even if an earlier call has done it.
        environment: added to that of all steps.
        folder: working folder, if not that of all steps.
    """

    phase: str
    name: str
    command: Sequence[str]
    seconds: float
    stop_s: float = 0.0
    needs: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    background: bool = False
    always: bool = False
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: Path | None = None

    @property
    def key(self) -> str:
        """Unique key, phase/name."""
        return f"{self.phase}/{self.name}"


@dataclasses.dataclass
class _Running:
    step: Step
    process: subprocess.Popen
    start: float
    end: float


class Runner:
    """Runs steps, with results in a work folder and a digest of them in an output folder.

    The work folder persists, so that the next call resumes; the output folder is refilled after every step.
    """

    def __init__(self, work: Path, output: Path, root: Path, environment: Mapping[str, str], seconds: float) -> None:
        """Prepare.

        Args:
            work: folder of results and logs.
            output: folder of summary.txt, results.json, logs.tar.gz and training output.
            root: working folder of the steps.
            environment: added for the steps.
            seconds: time limit of the whole call.
        """
        self._work, self._output, self._root = work, output, root
        self._environment = dict(os.environ) | dict(environment)
        self._end = time.monotonic() + seconds
        self._background: dict[str, _Running] = {}
        self._order: list[str] = []
        for folder in (work, output):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self._end - time.monotonic()

    @property
    def failed(self) -> list[str]:
        """Steps of this call that failed or reached their limit."""
        return [key for key in self._order if self._status(key).get("outcome") in ("failed", "limit")]

    def run(self, phase: str, steps: Sequence[Step], seconds: float, again: bool) -> None:
        """Run the steps of a phase, except finished ones."""
        end = time.monotonic() + min(seconds, self.left)
        for step in steps:
            self._order.append(step.key)
            if again or step.always:
                self._file(step, ".status.json").unlink(missing_ok=True)
            if self._status(step.key).get("outcome") == "done":
                continue
            left = end - time.monotonic()
            for need in (*step.needs, *step.awaits):
                if need in self._background:
                    self._wait(self._background.pop(need), time.monotonic() + left)
            left = end - time.monotonic()
            missing = [need for need in step.needs if self._status(need).get("outcome") != "done"]
            if missing:
                self._note(step, {"outcome": "left out", "reason": f"needs {', '.join(missing)}"})
            elif left < 3:
                self._note(step, {"outcome": "left out", "reason": f"no time left in the phase {phase}"})
            else:
                running = self._start(step, min(step.seconds, left))
                if step.background:
                    self._background[step.key] = running
                else:
                    self._wait(running, running.end)
            self.publish()

    def finish(self) -> None:
        """Wait for steps in the background."""
        for running in self._background.values():
            self._wait(running, self._end)
        self._background.clear()
        self.publish()

    def stop(self) -> None:
        """End running steps."""
        for running in self._background.values():
            _end_group(running.process)

    def _start(self, step: Step, seconds: float) -> _Running:
        result = self._file(step, ".json")
        result.parent.mkdir(parents=True, exist_ok=True)
        self._file(step, ".status.json").unlink(missing_ok=True)
        folder = self._file(step, "")
        command = [part.replace("{json}", str(result)).replace("{folder}", str(folder)) for part in step.command]
        print(f"== {step.key}: at most {seconds:.0f} s of {self.left:.0f}", flush=True)
        with self._file(step, ".log").open("w") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=step.folder or self._root,
                env=self._environment | dict(step.environment),
                process_group=0,
            )
        start = time.monotonic()
        return _Running(step, process, start, start + seconds)

    def _wait(self, running: _Running, end: float) -> None:
        step, process = running.step, running.process
        outcome = ""
        try:
            process.wait(max(0.1, end - step.stop_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            outcome = "limit"
            if step.stop_s:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(max(0.1, end - time.monotonic()))
                    outcome = "done" if process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM) else "failed"
                except subprocess.TimeoutExpired:
                    pass
        finally:
            _end_group(process)
        if not outcome:
            outcome = "done" if process.returncode == 0 else "failed"
        seconds = round(time.monotonic() - running.start, 1)
        self._note(step, {"outcome": outcome, "returncode": process.returncode, "seconds": seconds})

    def _file(self, step: Step, suffix: str) -> Path:
        return self._work / step.phase / (step.name + suffix)

    def _status(self, key: str) -> dict:
        file = self._work / f"{key}.status.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def _note(self, step: Step, status: dict) -> None:
        file = self._file(step, ".status.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(status) + "\n")
        print(f"   {step.key}: {status['outcome']} {status.get('reason', '')}", flush=True)

    # --- output

    def publish(self) -> None:
        """Fill the output folder with the results so far."""
        results = {}
        for key in self._known():
            file = self._work / f"{key}.json"
            results[key] = {"status": self._status(key), "result": _read_json(file)}
        (self._output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (self._output / "summary.txt").write_text(self.summary())
        with tarfile.open(self._output / "logs.tar.gz", "w:gz") as archive:
            for key in self._known():
                for suffix in (".log", ".png"):
                    file = self._work / f"{key}{suffix}"
                    if file.exists() and file.stat().st_size < 4 << 20:
                        archive.add(file, f"{key}{suffix}")

    def summary(self) -> str:
        """Summarise every step in a few lines."""
        lines = []
        for key in self._known():
            status = self._status(key)
            seconds = f", {status['seconds']} s" if "seconds" in status else ""
            reason = f": {status['reason']}" if "reason" in status else ""
            lines.append(f"{key}: {status.get('outcome', 'running')}{seconds}{reason}")
            lines += [f"    {line}" for line in lines_of(_read_json(self._work / f"{key}.json"))]
            log = self._work / f"{key}.log"
            if status.get("outcome") in ("failed", "limit") and log.exists():
                printed = log.read_text(errors="replace").splitlines()
                lines += [f"    | {line[:200]}" for line in printed[-_LOG_LINES:]]
        return "\n".join(lines) + "\n"

    def _known(self) -> list[str]:
        """List the steps of earlier calls, then those of this one."""
        files = sorted(self._work.glob("*/*.status.json"), key=lambda file: file.stat().st_mtime)
        before = [str(file.relative_to(self._work)).removesuffix(".status.json") for file in files]
        return list(dict.fromkeys([*(key for key in before if key not in self._order), *self._order]))


def _end_group(process: subprocess.Popen) -> None:
    """End a process and its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _read_json(file: Path) -> dict | None:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None
