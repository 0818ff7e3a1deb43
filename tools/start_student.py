"""Make a model for a student to start from: its teacher's parameters, slices of them where the student is narrower.

python tools/start_student.py --teacher DIR --student kd_small_s --output START
nvc-jax train --config kd_small:s --workdir RUN data.source=CLIPS teacher.model=DIR init=START
"""

import argparse

from nvc_jax.cli.program import run_command
from nvc_jax.codec.descriptions import find_codec
from nvc_jax.codec.store import load_model, make_model, save_model
from nvc_jax.errors import ConfigError
from nvc_jax.search.inheritance import inherit


def main():
    """Make the model; the exit code is 1 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, help="model directory or packaged model")
    parser.add_argument("--student", required=True, metavar="NAME|FILE.json", help="architecture")
    parser.add_argument("--seed", type=int, default=0, help="of values that do not come from the teacher")
    parser.add_argument("--output", required=True, help="model directory to make")
    return run_command(parser, start)


def start(options):
    """Make the model and save it."""
    save_model(options.output, start_model(options.teacher, find_codec(options.student), options.seed))
    print(f"{options.output}: {options.student}, to be trained")


def start_model(teacher, student, seed):
    """Make the model, and say which parameters are the teacher's.

    Raises:
        ModelError: there is no such teacher.
        ConfigError: it is int16, or one of both has no network whose weights can be sliced.
    """
    stored = load_model(teacher)
    if stored.precision == "int16":
        raise ConfigError(f"{teacher}: is an int16 model, which cannot be trained; give its float model.")
    inherited = inherit(stored.config, stored.params, student, seed)
    print(*inherited.lines(teacher), sep="\n")
    return make_model(student, inherited.params, f"start of a student of {stored.config.name}", offsets=stored.offsets)


if __name__ == "__main__":
    raise SystemExit(main())
