"""Compile in child processes: XLA selects its compilers at startup, and a child can be killed."""

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from nvc_jax.errors import ConfigError

_START_S = 300.0  # to import JAX, start the compiler and build the codec


class _EndedError(ConfigError):
    """A child ended before it answered."""


def compiled_rows(
    command: Sequence[str],
    request: Mapping[str, Any],
    environment: Mapping[str, str],
    limit_s: float,
    progress: Callable[[str], None],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compile programs one after the other in a child, which restarts behind a program that hangs or crashes it.

    The child reads the request as JSON and answers in lines of JSON: first the `names` of the programs to compile,
    then `program` and `row` for each; or `error`, a sentence, after which it ends.

    Args:
        command: of the child.
        request: for the child; `programs` selects by name or pattern.
        environment: of the child.
        limit_s: seconds for one program.
        progress: receives lines for the user.

    Yields:
        The name of a program and its row; `{"failed": ...}` after a timeout or a crash.

    Raises:
        ConfigError: the child reports an error, or ends before the first program.
    """
    left: list[str] | None = None
    while left is None or left:
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment
            )
            assert child.stdin is not None
            assert child.stdout is not None
            lines = _lines(child.stdout)
            try:
                with suppress(BrokenPipeError), child.stdin:  # it may have ended, and says why
                    child.stdin.write(json.dumps({**request} | ({"programs": left} if left else {})).encode())
                left = _answer(lines, _START_S, child, log)["names"]
                while left:
                    progress(left[0])
                    try:
                        answer = _answer(lines, limit_s, child, log)
                    except queue.Empty:
                        yield left.pop(0), {"failed": f"over the limit of {limit_s:g} s"}
                        break
                    except _EndedError as error:  # killed, out of memory, ...
                        yield left.pop(0), {"failed": str(error)}
                        break
                    left.remove(answer["program"])
                    yield answer["program"], answer["row"]
            except queue.Empty:
                raise ConfigError(f"the compiler did not start in {_START_S:g} s.") from None
            finally:
                child.kill()
                child.wait()


def _lines(stream: IO[bytes]) -> "queue.Queue[bytes]":
    """Queue the output of a child line by line, with an empty line at its end."""
    lines: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    return lines


def _answer(
    lines: "queue.Queue[bytes]", seconds: float, child: "subprocess.Popen[bytes]", log: IO[bytes]
) -> dict[str, Any]:
    line = lines.get(timeout=seconds)
    if not line:
        log.seek(0)
        last = (log.read().decode(errors="replace").strip().splitlines() or [""])[-1]
        raise _EndedError(f"the compiler ended with exit code {child.wait()} ({last[:300]}).")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer
