"""A search from start to end: what it writes, how it goes on, and what it refuses."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import synthetic

from nvc_jax.codec.descriptions import find_codec
from nvc_jax.codec.store import load_model, make_model, save_model
from nvc_jax.demo.sequence import write_demo
from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation.sequences import from_files
from nvc_jax.io.lock import locked
from nvc_jax.models.codecs import tiny
from nvc_jax.models.config import Stack
from nvc_jax.models.params import flatten, parameter_shapes
from nvc_jax.ops.colour import planes_to_picture
from nvc_jax.search import fine_tuning, loss, run
from nvc_jax.search.command import main
from nvc_jax.search.report import candidate_table
from nvc_jax.search.run import Task, search
from nvc_jax.search.settings import Settings
from nvc_jax.search.speed import Saving, differing_parts
from nvc_jax.search.variants import MODULES, VARIANTS, candidates, named, swapped
from nvc_jax.training.config import DEMO, Loss
from nvc_jax.training.transform_init import patch_statistics, transform_codec
from nvc_jax.video import open_video

INTER = dataclasses.replace(tiny["inter"], extractor_context=Stack(2, 16), decoder=Stack(3, 16), recon=Stack(2, 16))
TEACHER = tiny.replace("inter", INTER)
TWO_EACH = {  # of each module
    module: tuple(variant for variant in variants if variant.name in names)
    for (module, variants), names in zip(
        VARIANTS.items(), (("1/2 L", "1/2 L 1/2 F"), ("2/3 L", "1/3 L"), ("1/2 C", "1/2 L 1/2 F")), strict=True
    )
}


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "tiny"
    save_model(folder, synthetic.model_of(TEACHER))
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("clips") / "demo.y4m", 64, 48, 3)


def macs(config):
    """A time that falls with every reduction."""
    inter = config["inter"]
    stacks = (getattr(inter, name) for names in MODULES.values() for name in names)
    return sum(stack.blocks * stack.width * (stack.width + stack.middle * stack.width) for stack in stacks)


@pytest.fixture
def quick(monkeypatch):
    """Training, timing and coding replaced by functions of the architecture; the architectures that were trained."""
    trained = []

    class Stopwatch:
        def __init__(self, teacher, size, runs):
            self.whole = 2 * macs(teacher.stored.config)

        def saving(self, student):
            share = 0.5 - macs(student.stored.config) / self.whole
            return Saving(share, 10.0, {"decoder": (2.0, 1.0)})

        def speedup(self, student):
            return 1 / (0.5 + macs(student.stored.config) / self.whole)

    def fine_tune(config, workdir, note):
        trained.append(config)
        shutil.copytree(config.init, workdir / "model", dirs_exist_ok=True)
        return workdir / "model"

    def curves(model, *given):
        worse = 1.0 + (macs(TEACHER) / macs(load_model(model).config) - 1.0) / 10
        points = {
            f"{i:03}": {"ave_all_frame_bpp": 0.1 * worse * 2**i, "ave_all_frame_psnr": 30.0 + 2 * i} for i in range(4)
        }
        return {"clips": {"demo": points}}

    monkeypatch.setattr(run, "VARIANTS", TWO_EACH)
    monkeypatch.setattr(run, "Stopwatch", Stopwatch)
    monkeypatch.setattr(fine_tuning, "fine_tune", fine_tune)
    monkeypatch.setattr(loss, "curves", curves)
    monkeypatch.setattr(run._Search, "_complexity", lambda self, config: {"parameters": 1, "decode_kmac": 1.0})
    return trained


def arguments(teacher, clip, output, *more):
    parts = ["--model", teacher, "--videos", clip, "--data", DEMO, "--output", output, "--precision", "float32", *more]
    return list(map(str, parts))


@pytest.mark.slow
def test_search_goes_on_and_writes_everything(teacher, clip, quick, tmp_path, capsys):
    options = arguments(teacher, clip, tmp_path, "--target-speedup", 0.3, "--check", 2)
    assert main(options) == 0
    found = json.loads((tmp_path / "search.json").read_text())
    shown = capsys.readouterr()
    assert shown.out.strip() == (tmp_path / "search.md").read_text().strip()
    assert "1 of 9: extractor 1/2 L ...\n" in shown.err
    assert all((tmp_path / name).read_bytes()[1:4] == b"PNG" for name in ("frontiers.png", "architectures.png"))

    # Predictions follow from the measured parts.
    rows = {(row["module"], row["name"]): row for row in found["candidates"]}
    for target, row in found["chosen"].items():
        parts = [rows[part] for part in row["variants"].items() if part[1] != "whole"]
        assert row["predicted_loss"] == pytest.approx(sum(part["loss"] for part in parts), abs=1e-5)
        saved = sum(part["saved"]["share"] for part in parts)
        assert row["speedup"] == pytest.approx(1 / (1 - saved), abs=1e-5)
        assert row["speedup"] >= 1 + float(target)
        enough = [a for a in found["architectures"] if a["speedup"] >= 1 + float(target)]
        assert row["efficiency"] == max(a["efficiency"] for a in enough)
        assert row["measured_speedup"] == pytest.approx(row["speedup"], rel=1e-3)  # as these times add up
        # The configuration that a training recipe takes.
        config = find_codec(str(tmp_path / row["codec"]))
        whole = [named(candidates(TEACHER)[0], *part) for part in row["variants"].items() if part[1] != "whole"]
        assert config == swapped(TEACHER, whole, row["name"])
        assert row["name"] == f"tiny_{100 * float(target):.0f}"
        assert load_model(tmp_path / "students" / row["name"]).config == config  # to start from
    assert found["paper"]["KD-NVC-S"]["predicted_loss"] == pytest.approx(
        sum(rows[part]["loss"] for part in found["paper"]["KD-NVC-S"]["variants"].items()), abs=1e-5
    )
    labels = [row["label"] for row in found["check"]]
    assert len(labels) == 2
    assert {row["label"] for row in found["chosen"].values()} <= set(labels)
    for target, row in found["uniform"].items():
        assert row["beside"] == found["chosen"][target]["label"]
        assert len(set(row["variants"].values())) == 1

    # The same command trains nothing again; a lost result is made again.
    quick.clear()
    assert main(options) == 0
    assert quick == []
    shutil.rmtree(tmp_path / "candidates" / "decoder_1-3_L")
    assert main(options) == 0
    assert [config.codec for config in quick] == [
        swapped(TEACHER, [named(candidates(TEACHER)[0], "decoder", "1/3 L")], "tiny")
    ]
    assert json.loads((tmp_path / "search.json").read_text())["chosen"] == found["chosen"]
    assert main([*options, "--steps", "7"]) == 1
    assert "holds a search with steps 120 (now 7)" in capsys.readouterr().err


def test_target_out_of_reach_is_said_after_everything_is_written(teacher, clip, quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "VARIANTS", {"decoder": TWO_EACH["decoder"]})
    assert main(arguments(teacher, clip, tmp_path, "--target-speedup", 0.1, 9)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("nvc-jax search: no architecture decodes 900 % faster than the teacher; the fastest, ")
    found = json.loads((tmp_path / "search.json").read_text())["chosen"]
    assert found["9"] is None
    assert found["0.1"] is not None


@pytest.mark.slow
def test_candidate_without_a_bd_rate_is_left_out(teacher, clip, quick, tmp_path, monkeypatch):
    right = loss.curves

    def curves(model, *given):
        if load_model(model).config["inter"].decoder == Stack(1, 16):
            raise EvaluationError("clips/demo, qp 0: not finite.")
        return right(model, *given)

    monkeypatch.setattr(loss, "curves", curves)
    videos = tuple(from_files([str(clip)]))
    few = {module: variants[:1] for module, variants in TWO_EACH.items()} | {"decoder": TWO_EACH["decoder"]}
    task = Task(str(teacher), videos, tmp_path, (0.1,), 0, Settings(DEMO, precision="float32"), few)
    found = search(task, print)
    (row,) = (row for row in found["candidates"] if (row["module"], row["name"]) == ("decoder", "1/3 L"))
    assert (row["loss"], row["reason"]) == (None, "clips/demo, qp 0: not finite.")
    assert found["frontiers"]["decoder"] == ["whole", "2/3 L"]
    assert found["paper"]["KD-NVC-S"] == {"reason": "a module has no BD-rate", "label": "1/2 L; 1/3 L; 1/2 C"}


def test_teacher_without_a_monotone_curve_is_refused(teacher, clip, quick, tmp_path, monkeypatch, capsys):
    flat = {f"{i}": {"ave_all_frame_bpp": 0.1 * 2**i, "ave_all_frame_psnr": 30.0} for i in range(4)}
    monkeypatch.setattr(loss, "curves", lambda *given: {"clips": {"demo": flat}})
    assert main(arguments(teacher, clip, tmp_path)) == 1
    assert "nothing can be compared with it; no BD-rate of clips/demo: the anchor curve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "typo"}, "typo: not a model; give a model directory"),
        ({"--videos": "typo*.mkv"}, "typo*.mkv: no file matches."),
        ({"--target-speedup": "-1"}, "target speed-ups must be above 0"),
        ({"--check": "-1"}, "--check is -1; it must be at least 0."),
        ({"--data": "typo"}, "typo: cannot open the folder of training data"),
        ({"--qps": "10"}, "--qps needs 4 or more different qps from 0 to 63, for a BD-rate."),
        ({"--steps": "0"}, "--steps is 0; it must be at least 1."),
        ({"--crop": "20"}, "--clip-frames is 4 and --crop 20; at least 2, and a multiple of 16."),
        ({"--precision": "int3"}, "precision 'int3' is not known; choose from"),
        ({"--recipe": "typo"}, "typo: no such configuration; give a Python file or one of:"),
        ({"--speed-size": "3"}, "--speed-size 3 is not of the form WIDTHxHEIGHT"),
    ],
)
def test_bad_input_is_one_sentence(teacher, clip, tmp_path, capsys, change, message):
    given = arguments(teacher, clip, tmp_path / "out")
    for name, value in change.items():
        given = [*given, name, value]
    assert main(given) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_model_without_an_inter_network_is_refused(clip, tmp_path, capsys):
    from nvc_jax.models.config import CodecConfig, PairConfig

    stacks = {name: getattr(INTER, name) for name in ("extractor_prior", "extractor_context", "encoder", "decoder")}
    fields = vars(INTER) | stacks | {"adaptor": Stack(1, 16)}
    pair = CodecConfig("pairs", (("pair", PairConfig(**fields)),), first="pair", rest="pair")
    save_model(tmp_path / "pairs", synthetic.model_of(pair))
    assert main(arguments(tmp_path / "pairs", clip, tmp_path / "out")) == 1
    assert "the codec pairs has no network 'inter' to make smaller; it has pair." in capsys.readouterr().err


def test_second_search_in_a_folder_is_refused(teacher, clip, tmp_path, capsys):
    with locked(tmp_path, "search"):
        assert main(arguments(teacher, clip, tmp_path)) == 1
    assert capsys.readouterr().err == (
        f"nvc-jax search: {tmp_path}: another search is at work in this folder; wait for its end or name another "
        "folder.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_missing_options_are_usage(teacher, capsys):
    assert main(["--model", str(teacher)]) == 2
    assert "the following arguments are required: --videos, --data, --output" in capsys.readouterr().err


def test_parts_that_differ():
    found, _ = candidates(TEACHER)

    def parts(module, name):
        return differing_parts(TEACHER, swapped(TEACHER, [named(found, module, name)]))

    assert parts("decoder", "1/3 L") == ["decoder"]
    assert parts("reconstruction", "1/2 C") == ["reconstruction"]
    assert parts("extractor", "1/2 C") == ["extractor", "prior fusion", "decoder"]  # those read its output


def test_parameters_that_are_trained():
    student = swapped(TEACHER, [named(candidates(TEACHER)[0], "extractor", "1/2 C")])
    trained = fine_tuning.trained_parameters(TEACHER, student, ["extractor"])
    assert {name.split("/")[1].rstrip("_0123456789") for name in trained} == {
        *("adaptor_picture", "adaptor_feature", "extractor_prior", "extractor_context", "q_feature"),
        *("temporal_prior", "encoder_blocks", "decoder_blocks"),  # the kernels that read the narrower context
    }
    shapes = parameter_shapes(student)
    frozen = fine_tuning.freezing(list(shapes), trained)
    held = {name for name in shapes if any(pattern in name for pattern, _ in frozen)}
    assert held == shapes.keys() - trained
    assert ("inter/recon_blocks_0/", 0.0) in frozen


def test_table_of_candidates(monkeypatch):
    from nvc_jax.evaluation.complexity import Complexity, Module

    monkeypatch.setattr(
        "nvc_jax.search.report.packet_complexity", lambda *given: Complexity({"all": Module(2000000, 0.0, 1500.0)}, {})
    )
    lines = candidate_table(TEACHER).splitlines()
    assert lines[2] == "|  | tiny |  | 2.000 M | 1.5 |"
    assert "| decoder | 1/3 L 1/2 F | 1 x 16, FFN x 2 | 2.000 M | 1.5 |" in lines


@pytest.mark.slow
def test_real_candidate(clip, tmp_path):
    """Training, timing and BD-rate of one candidate; the rest of the teacher stays bit for bit."""
    wide = Stack(1, 112)
    inter = dataclasses.replace(
        tiny["inter"], width=112, extractor_prior=wide, extractor_context=wide, encoder=wide, decoder=wide, recon=wide
    )
    intra = dataclasses.replace(tiny["intra"], width=96, encoder=Stack(1, 96), decoder=Stack(1, 96), latent=96)
    codec = tiny.replace("inter", dataclasses.replace(inter, latent=96)).replace("intra", intra)
    with open_video(clip) as reader:
        planes = [[plane[None] for plane in (frame.y, frame.u, frame.v)] for frame in reader]
    pictures = np.stack([np.asarray(planes_to_picture(*frame))[0] for frame in planes])[None]
    lambdas = Loss()
    params = transform_codec(codec, patch_statistics(pictures), lambdas.intra_lambda, lambdas.inter_lambda, 0)
    save_model(tmp_path / "wide", make_model(codec, params, "a transform codec"))
    settings = Settings(
        DEMO, steps=2, batch=1, clip_frames=2, crop=32, frames=2, precision="float32", speed_size=(64, 48), runs=2
    )
    videos = tuple(from_files([str(clip)]))
    only = {"decoder": tuple(v for v in VARIANTS["decoder"] if v.name == "1/2 F")}
    found = search(Task(str(tmp_path / "wide"), videos, tmp_path / "out", (9.0,), 0, settings, only), print)
    (row,) = found["candidates"]
    assert row["loss"] is not None, row["reason"]
    assert list(row["saved"]["parts_ms"]) == ["decoder"]
    assert found["missed"]
    model = load_model(tmp_path / "out" / "candidates" / "decoder_1-2_F" / "run" / "model")
    ours, theirs = flatten(model.params), flatten(params)
    changed = {name.split("/")[1] for name, leaf in ours.items() if not np.array_equal(leaf, theirs[name])}
    assert changed == {"decoder_blocks_0", "decoder_up", "decoder_out", "q_decoder"}
