"""tools/compile_for.py: refusals, children that hang or crash, and (slow) real compilations without a device."""

import dataclasses
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from rich.console import Console

from nvc_jax.benchmark import targets
from nvc_jax.benchmark.compile_children import compiled_rows
from nvc_jax.benchmark.compile_command import main
from nvc_jax.benchmark.compile_tables import plot, print_table
from nvc_jax.benchmark.device_programs import STREAMS, coding_programs
from nvc_jax.benchmark.subject import load
from nvc_jax.benchmark.targets import TARGETS
from nvc_jax.errors import ConfigError
from nvc_jax.training.abstract import abstract_step, distinct_stages
from nvc_jax.training.settings import load_config

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "compile_for.py"
PACKAGES = {"tpu": ("libtpu",), "cuda": ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")}


def run_tool(*arguments):
    command = [sys.executable, TOOL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "h300"), "unknown target 'h300'; available: h100, h200, a100, v5e, v5p, v6e, v4."),
        (("--target", "h100", "--limit", "0"), "--limit is 0; it must be above 0."),
        (("--target", "h100", "--batch", "0"), "--batch is 0; it must be at least 1."),
        (
            ("--target", "h100", "--before", "README.md"),
            "README.md: is not a result of nvc-jax compile (Expecting value: line 1 column 1 (char 0)).",
        ),
    ],
)
def test_refused_options(arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(arguments, prog="compile_for.py") == 1
    assert capsys.readouterr().err == f"compile_for.py: {message}\n"


def test_the_tool_is_the_command():
    refused = run_tool("--target", "h300")
    assert refused.returncode == 1
    assert refused.stderr.startswith("compile_for.py: unknown target 'h300'")


@pytest.mark.parametrize(("name", "package"), [("v5e", "libtpu"), ("h100", "jax-cuda12-plugin")])
def test_a_missing_compiler_is_named(monkeypatch, name, package):
    monkeypatch.setattr(targets, "_is_installed", lambda module: False)
    with pytest.raises(ConfigError, match=rf"^compiling for {name} needs the packages? {package}.*'\.\[compile\]'"):
        TARGETS[name].check_installed()


def test_failed_compilations_are_explained():
    error = RuntimeError("INTERNAL: Couldn't find a suitable version of ptxas.\nand more")
    assert TARGETS["h100"].explain(error).startswith("compiling for h100 needs ptxas and libdevice")
    no_tiles = RuntimeError("INTERNAL: Couldn't find output tile sizes that satisfy hlo")
    assert TARGETS["h100"].other_options(no_tiles) == {"xla_gpu_enable_triton_gemm": False}
    assert not TARGETS["v5e"].other_options(no_tiles)
    assert TARGETS["v5e"].explain(RuntimeError("no\nidea")) == "XLA cannot compile it for v5e (no)."


def test_a_program_that_was_not_compiled_is_told_with_its_reason():
    failed = {"encode": {"failed": "over the limit of 600 s, [so] it was ended, and a sentence may be long."}}
    result = {"model": "tiny", "size": "64x64", "precision": "int16", "targets": {"h100": {"programs": failed}}}
    console = Console(file=io.StringIO(), width=80)
    print_table(result, console)
    assert console.file.getvalue().endswith(f"\nencode: {failed['encode']['failed']}\n")
    assert plot(result).startswith(b"\x89PNG")


FAKE = """
import json, sys, time
request = json.loads(sys.stdin.read())
names = [n for n in ("a", "slow", "b") if n in request["programs"] or "*" in request["programs"]]
print(json.dumps({"names": names}), flush=True)
for name in names:
    time.sleep(60 if name == "slow" else 0)
    print(json.dumps({"program": name, "row": {"kernels": request["kernels"]}}), flush=True)
"""


def rows_of(script, **request):
    return dict(compiled_rows([sys.executable, "-c", script], {"programs": ["*"], **request}, {}, 2.0, lambda _: None))


def test_a_child_that_takes_too_long_is_killed_and_the_others_go_on():
    rows = rows_of(FAKE, kernels=7)
    assert rows == {"a": {"kernels": 7}, "slow": {"failed": "over the limit of 2 s"}, "b": {"kernels": 7}}


def test_a_child_that_dies_costs_one_program():
    dying = FAKE.replace('time.sleep(60 if name == "slow" else 0)', 'name == "slow" and sys.exit("no memory")')
    assert dying != FAKE
    rows = rows_of(dying, kernels=7)
    assert rows["slow"] == {"failed": "the compiler ended with exit code 1 (no memory)."}
    assert rows["a"] == rows["b"] == {"kernels": 7}


def test_what_a_child_says_at_its_end():
    with pytest.raises(ConfigError, match=r"^no such thing\.$"):
        rows_of("import json; print(json.dumps({'error': 'no such thing.'}))")
    with pytest.raises(ConfigError, match=r"exit code 3 \(aborted\)"):
        rows_of("import sys; print('aborted', file=sys.stderr); sys.exit(3)")


@pytest.mark.parametrize(
    ("precision", "strategy"), [("bfloat16", "xla"), pytest.param("int16", "int8", marks=pytest.mark.slow)]
)
def test_programs_take_each_others_results(precision, strategy):
    codec, _ = load("tiny", precision, strategy)
    programs = coding_programs(codec, 64, 48)

    def shapes(name):
        return jax.eval_shape(programs[name].function, *programs[name].inputs)

    for prefix in ("", "intra_"):
        packed, coded = shapes(f"{prefix}encode")
        indexes, decoded = shapes(f"{prefix}decode")
        assert coded == decoded  # what the picture is made of
        symbols = programs[f"{prefix}decode"].inputs[1]
        planes = [plane for plane, _ in symbols.y]
        assert [index.shape for index in indexes] == [plane.shape for plane in planes]
        assert packed.shape == (1, symbols.z.size + 2 * sum(plane.size for plane in planes))
        y, u, v = shapes(f"{prefix}picture")
        assert (y.shape, u.shape, v.shape) == ((1, 48, 64), (1, 24, 32), (1, 24, 32))
    assert shapes(f"decode_{STREAMS}")[1].feature.shape[0] == STREAMS
    names = [name.removeprefix("stage_") for name in programs if name.startswith("stage_")]
    assert names == [
        *("pictures_from_planes", "features", "context", "analyse", "prior", "quantise", "refine", "quantise_2"),
        *("synthesise", "pack", "reconstruct", "planes_from_pictures"),
    ]


def test_training_steps_of_the_full_recipe():
    config = load_config(ROOT / "configs" / "dcvc_rt.py")
    stages = dict(distinct_stages(config))
    assert {"train_2", "train_6", "train_32"} <= stages.keys()
    assert (stages["train_6"].mode, stages["train_32"].mode, stages["train_32"].remat) == ("plain", "cascaded", True)
    skipping = dataclasses.replace(config.stages[0], name="skipping", skip=True)
    assert skipping in dict(distinct_stages(dataclasses.replace(config, stages=(*config.stages, skipping)))).values()
    smoke = load_config(ROOT / "configs" / "smoke.py")
    made = abstract_step(smoke, dict(distinct_stages(smoke))["train_3"], chips=4)
    assert [plane.shape for plane in made.batch.planes] == [(8, 3, 32, 32), (8, 3, 16, 16), (8, 3, 16, 16)]
    alone = abstract_step(smoke, dict(distinct_stages(smoke))["train_1"], batch_per_chip=2)
    state, metrics = jax.eval_shape(alone.step, alone.state, alone.batch)
    assert jax.tree.map(lambda x: x.shape, state) == jax.tree.map(lambda x: x.shape, alone.state)
    assert {value.shape for value in metrics.values()} == {()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v5e", "h100"])
def test_tiny_programs_compile_without_a_device(name, tmp_path):
    for package in PACKAGES[TARGETS[name].platform]:
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"{package} is not installed (pip install '.[compile]')")
    options = ("--model", "tiny", "--size", "64x64", "--config", ROOT / "configs" / "smoke.py", "--batch", "2")
    programs = "encode,picture,decode,decode_4,stage_reconstruct,train_1,train_1@2x2"
    output = tmp_path / "out.json"
    done = run_tool("--target", name, *options, "--programs", programs, "--output", output)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    rows = result["targets"][name]["programs"]
    assert sorted(rows) == sorted(programs.split(","))
    for program, row in rows.items():
        assert row["kernels"] == sum(row["classes"].values()) > 0, program
        assert row["roofline_ms"] == max(row["products_ms"], row["memory_ms"])
        assert (row["launched_ms"] > row["roofline_ms"]) == (name == "h100")
        assert row["bytes"] + row["on_chip_bytes"] >= row["output_bytes"]
        assert row["fits"]
        assert row["temporary_bytes"] < row["peak_bytes"] < 1e9
        assert (row["collective_bytes"] > 0) == ("@" in program), program
    assert rows["decode_4"]["flops"] == 4 * rows["decode"]["flops"]
    assert rows["decode_4"]["kernels"] < 2 * rows["decode"]["kernels"]
    assert rows["train_1"]["kernels"] > rows["encode"]["kernels"]
    assert plot(result).startswith(b"\x89PNG")
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")

    compared = run_tool("--target", name, *options, "--programs", "picture", "--before", output)
    kernels = rows["picture"]["kernels"]
    assert f"{kernels} > {kernels}" in compared.stdout, compared.stderr

    unknown = run_tool("--target", name, *options, "--programs", "encode,decodes")
    assert unknown.returncode == 1
    assert "unknown program 'decodes'; known: encode, picture, decode," in unknown.stderr
