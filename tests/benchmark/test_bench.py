"""Measurements of tools/bench.py agree with each other and with the codec."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import synthetic

from nvc_jax.benchmark import ablation, sequence
from nvc_jax.benchmark.clock import Times
from nvc_jax.benchmark.command import main
from nvc_jax.benchmark.modules import PARTS, module_calls, stage_calls
from nvc_jax.benchmark.subject import QP, Subject, code_packet, load, moving_picture
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import Schedule
from nvc_jax.evaluation.complexity import packet_complexity
from nvc_jax.models.codecs import dcvc_rt, tiny

TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench.py"
SIZE = 64, 64


@pytest.fixture(scope="module")
def codec():
    return load("tiny", "float32")[0]


@pytest.fixture(scope="module")
def subject(codec):
    return Subject.of(codec, *SIZE)


@pytest.fixture(scope="module")
def moving_subject():
    return Subject.of(Codec(synthetic.tiny_model(residual=True)), *SIZE)


@pytest.mark.parametrize("config", [dcvc_rt, synthetic.tiny_model(residual=True).config], ids=["dcvc_rt", "motion"])
def test_rows_are_all_of_the_network(config):
    """Every product of the inter network is in one row: the published total of both sides."""
    modules = packet_complexity(config, config.rest).modules
    rows = [part for parts in PARTS.values() for part in parts if part in modules]
    assert len(rows) == len(set(rows))
    for side in ("encode", "decode"):
        of_rows = sum(getattr(modules[part], side) for part in rows)
        assert of_rows == pytest.approx(sum(getattr(module, side) for module in modules.values()), rel=1e-9)


def test_modules_and_stages_run_and_have_costs(subject):
    modules, stages = module_calls(subject), stage_calls(subject)
    assert list(modules) == list(PARTS)
    assert list(stages) == [
        *("features", "context", "analyse", "prior", "quantise", "refine", "quantise 2", "synthesise", "reconstruct")
    ]
    for call in (*modules.values(), *stages.values()):
        call()
        assert call.cost().kernels > 0
        assert call.cost().bytes > 0
    _, _, pictures = code_packet(subject.loaded, *subject.inputs)
    np.testing.assert_allclose(stages["reconstruct"]()[0], pictures, atol=1e-5)


@pytest.mark.slow
def test_a_packet_with_motion(moving_subject):
    """A codec with motion has three more programs; fused into one they give the same results."""
    modules, stages = module_calls(moving_subject), stage_calls(moving_subject)
    assert list(modules) == list(PARTS)
    assert list(stages)[:3] == ["estimate", "compensate", "skip"]
    assert all(call.cost().kernels > 0 for call in stages.values())
    ways = [way for way in ablation.variants(moving_subject) if way.name not in ("op by op", "jit per block")]
    for _, _, _, agreement in ablation.measure(ways, moving_subject, moving_subject, "float32", runs=1):
        assert agreement.close
    decodes_its_symbols(moving_subject)


def test_decoding_known_symbols_gives_the_pictures_of_the_encoder(subject):
    decodes_its_symbols(subject)


def decodes_its_symbols(subject):
    symbols, _, pictures = code_packet(subject.loaded, *subject.inputs)
    np.testing.assert_array_equal(subject.network_decode(jax.device_get(symbols)), pictures)
    assert subject.network_encode().z.any()


@pytest.mark.slow
def test_variants_agree(subject):
    """Every fusion except operation by operation, which compiles a thousand programs."""
    ways = [way for way in ablation.variants(subject) if way.name != "op by op"]
    rows = {
        way.name: (cost, agreement)
        for way, _, cost, agreement in ablation.measure(ways, subject, subject, "float32", runs=1)
    }
    assert all(agreement.close for _, agreement in rows.values())
    costs = {name: cost for name, (cost, _) in rows.items()}
    assert [costs[name].programs for name in ("jit per stage", "one program", "scan over frames")] == [9, 1, 1]
    assert costs["jit per block"].programs > 50
    assert costs["jit per block"].kernels > costs["jit per stage"].kernels >= costs["one program"].kernels
    assert costs["jit per block"].bytes > costs["jit per stage"].bytes


@pytest.mark.slow
def test_time_of_the_host_is_divided(codec):
    frames = list(moving_picture(*SIZE, sequence.DROPPED + 3))
    packets, encoded = sequence.encode(codec, frames, Schedule(QP, QP))
    assert [packet.index for packet in packets] == list(range(len(frames)))
    for run in (encoded, sequence.decode(codec, packets)):
        told = run.to_json()
        assert len(told["all_s"]) == 3
        assert told["fps"] == pytest.approx(3 / sum(told["all_s"]))
        assert sum(told["shares"].values()) == pytest.approx(1)
        assert all(0 < share < 1 for share in told["shares"].values())


def test_spread_of_times():
    assert Times([1.0, 2.0, 3.0]).to_json() == {"median_s": 2.0, "min_s": 1.0, "spread": 1.0, "all_s": [1.0, 2.0, 3.0]}
    assert Times([2.0]).to_json()["spread"] == 0.0


@pytest.mark.slow
def test_tool(tmp_path, compilation_cache):
    output = tmp_path / "out.json"
    options = ["--model", "tiny", "--size", "64x64", "--runs", "3", "--output", str(output)]
    subprocess.run([sys.executable, str(TOOL), *options], check=True, env=compilation_cache, capture_output=True)
    result = json.loads(output.read_text())
    assert output.with_suffix(".png").stat().st_size > 10_000
    assert (result["size"], result["precision"], result["random_weights"]) == ("64x64", "float32", True)
    complexity = packet_complexity(tiny, tiny.rest, *SIZE).total
    assert result["macs"] == {"encode": round(complexity.encode * 4096), "decode": round(complexity.decode * 4096)}
    modules, stages, fusion = (result[name] for name in ("modules", "stages", "fusion"))
    assert all(0 < row["product_share"] <= 1 for row in modules.values())
    assert all(row["kernels"] >= max(1, row["fusions"]) for row in (*modules.values(), *stages.values()))
    parts = sum(row["min_s"] for row in stages.values())
    assert 0.2 < parts / fusion["jit per stage"]["min_s"] < 5
    assert all(row["close"] and row["kernels"] > 0 and row["bytes"] > 0 for row in fusion.values())
    assert fusion["op by op"]["kernels"] > fusion["jit per block"]["kernels"] > fusion["one program"]["kernels"]
    for side in ("encode", "decode"):
        whole = result["end_to_end"][f"nvc_jax/{side}"]
        assert sum(whole["shares"].values()) == pytest.approx(1)
        assert whole["overhead"] == pytest.approx(
            whole["median_s"] / result["points"][f"nvc_jax/{side}"]["median_s"] - 1
        )
    assert result["official"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "64"], "--size 64 is not of the form WIDTHxHEIGHT, for example 352x288."),
        (["--runs", "0"], "--runs, --sequences and --streams must be at least 1."),
        (
            ["--frames", "11"],
            "--frames 11 is too few for a frame rate: the first 10 do not count, and at least 10 must; "
            "give 20 or more, or --parts without sequence.",
        ),
    ],
)
def test_bad_options(tmp_path, capsys, options, message):
    arguments = ["--model", "tiny", "--output", str(tmp_path / "out.json"), *options]
    assert main(arguments, prog="bench.py") == 1
    assert capsys.readouterr().err == f"bench.py: {message}\n"
    assert not list(tmp_path.iterdir())


def test_the_tool_is_the_command(tmp_path):
    command = [sys.executable, str(TOOL), "--model", "tiny", "--output", str(tmp_path / "out.json"), "--size", "64"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert told.stderr.startswith("bench.py: --size 64 is not of the form WIDTHxHEIGHT")
