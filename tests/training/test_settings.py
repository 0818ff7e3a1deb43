import json

import pytest

from nvc_jax.errors import ConfigError
from nvc_jax.models.codecs import embedded, tiny
from nvc_jax.training.command import main
from nvc_jax.training.config import Data, Logging, Stage, TrainConfig, resolved
from nvc_jax.training.settings import differences, load_config, override, to_json

BASE = TrainConfig(tiny, (Stage("a", frames=1, steps=4, train="intra"), Stage("b", frames=3, epochs=2, batch=4)))


def test_overrides_reach_every_level():
    changed = override(
        BASE,
        ["stages.0.steps=10", "data.scale=[0.5,2]", "data.source=a=b", "loss.inter_lambda.1=900", "codec=embedded",
         "stages.1.remat=true", "stages.1.mode=plain", "codec.inter.width=128"],
    )  # fmt: skip
    assert changed.stages[0].steps == 10
    assert changed.data.scale == (0.5, 2.0)
    assert changed.data.source == "a=b"
    assert changed.loss.inter_lambda == (1.0, 900.0)
    assert (changed.stages[1].remat, changed.stages[1].mode) == (True, "plain")
    assert changed.codec["inter"].width == 128
    assert changed.codec["intra"] == embedded["intra"]
    assert BASE.stages[0].steps == 4


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stages.0.step=1", "Stage has no key 'step'; it has name, frames, steps, epochs,"),
        ("dataa.source=x", "TrainConfig has no key 'dataa'; it has codec, stages,"),
        ("stages.2.steps=1", "has no element '2'; write a number from 0 to 1"),
        ("stages.0.steps=many", "stages.0.steps is 'many'; it must be a whole number"),
        ("stages.0.steps=1.5", "stages.0.steps is 1.5; it must be a whole number"),
        ("stages.0.learning_rate=NaN", "must be a number"),
        ("stages.0.remat=1", "must be true or false"),
        ("stages.0.mode=both", "must be one of plain, cascaded"),
        ("stages.0.size=40", "a multiple of 16"),
        ("stages.0.frames=2", "set train to inter or all, or frames to 1"),
        ("data.scale=[1]", "data.scale has 1 values; it must have 2"),
        ("data=x", "data: holds several values; set one of source,"),
        ("seed.x=1", "seed is a single value"),
        ("codec=big", "unknown codec 'big'; available: dcvc_rt,"),
        ("seed", "write key=value"),
        ("stages=[1]", "set stages.N.KEY=VALUE"),
        ("data.memory_mb=-1", "data.memory_mb is -1"),
        ("optimiser.beta1=1", "beta1 is 1.0"),
        ("optimiser.epsilon=0", "optimiser.epsilon must be above 0"),
        ("loss.balance=-1", "loss.balance is -1.0"),
    ],
)
def test_bad_overrides_are_refused(assignment, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        override(BASE, [assignment])


def test_keys_that_belong_together_are_set_together():
    changed = override(
        BASE, ["stages.0.steps=0", "stages.0.epochs=1", "stages.0.frames=3", "stages.0.train=inter",
               "data.scale.0=2", "data.scale.1=3"],
    )  # fmt: skip
    assert (changed.stages[0].steps, changed.stages[0].epochs) == (0, 1.0)
    assert (changed.stages[0].frames, changed.stages[0].train) == (3, "inter")
    assert changed.data.scale == (2.0, 3.0)
    assert override(BASE, []) == BASE


def test_epochs_become_steps():
    assert [stage.steps for stage in resolved(BASE, [10, 10]).stages] == [4, 5]


def test_differences_name_the_key():
    saved = to_json(BASE)
    assert json.loads(saved)["stages"][1]["name"] == "b"
    assert list(differences(saved, BASE)) == []
    assert list(differences(saved, override(BASE, ["seed=3"]))) == [("seed", 0, 3)]
    fewer = TrainConfig(tiny, BASE.stages[:1], logging=Logging(keep=7))
    assert next(differences(saved, fewer))[0] == "stages.1.name"
    harmless = ["logging.keep=7", "data.threads=9", "data.prefetch=9", "data.memory_mb=9", "evaluation.steps=9"]
    assert list(differences(saved, override(BASE, harmless))) == []
    rounded = override(BASE, ["stages.1.rounded=true"])
    in_int8 = override(rounded, ["int8_kernels=true"])
    assert list(differences(to_json(rounded), in_int8)) == [("int8_kernels", False, True)]
    with pytest.raises(
        ConfigError, match=r"int8_kernels needs a last stage that trains for them; set stages\.1\.rounded=true"
    ):
        override(BASE, ["int8_kernels=true"])
    assert list(differences(to_json(rounded), override(rounded, ["significant_bits=8"]))) == [
        ("significant_bits", 24, 8)
    ]


def test_configurations_older_than_a_key_have_its_default():
    old = json.loads(to_json(BASE))
    del old["seed"], old["loss"], old["stages"][1]["remat"]
    assert list(differences(json.dumps(old), BASE)) == []
    assert list(differences(json.dumps(old), override(BASE, ["stages.1.remat=true"]))) == [
        ("stages.1.remat", False, True)
    ]


@pytest.mark.parametrize("name", ["smoke", "dcvc_rt", "embedded", "embedded_v2"])
def test_configurations_of_the_project(name, request):
    config = load_config(request.config.rootpath / "configs" / f"{name}.py")
    assert config.stages


def test_recipe_is_the_official_one(request):
    """The tables of the official training code: pictures, then video with clips of more and more frames."""
    config = load_config(request.config.rootpath / "configs" / "dcvc_rt.py")
    table = [
        (stage.frames, stage.epochs, stage.learning_rate, stage.size, stage.batch, stage.mode)
        for stage in config.stages
    ]
    pictures = [
        (45, 2e-4, 256),
        (25, 5e-5, 256),
        (20, 1e-5, 256),
        (5, 2e-4, 512),
        (4, 5e-5, 512),
        (4, 1e-5, 512),
        (2, 1e-6, 512),
    ]
    assert [row[1:4] for row in table[:7]] == pictures
    video = table[7:]
    assert [row[0] for row in video] == [2, 3, 6, 8, 16, 24, 32, 32, 33, 33, 49, 49, 65, 65, 97, 129]
    assert [row[2] for row in video] == [
        1e-4, 1e-4, 1e-4, 5e-5, 5e-5, 5e-5, 5e-5, 5e-6, 5e-5, 5e-6, 2e-5, 2e-6, 5e-6, 2e-6, 2e-6, 5e-7,
    ]  # fmt: skip
    for begin, end, epochs, size, batch, mode in (
        (0, 3, 55, 256, 16, "plain"), (3, 8, 37, 256, 8, "cascaded"), (8, 14, 40, 512, 8, "cascaded"),
        (14, 16, 4, 512, 4, "cascaded"),
    ):  # fmt: skip
        assert sum(row[1] for row in video[begin:end]) == epochs
        assert {row[3:] for row in video[begin:end]} == {(size, batch, mode)}
    assert {row[4] for row in table[:7]} == {16}
    assert [stage.clip_norm for stage in config.stages] == [0.1] * 7 + [0.2] * 16
    assert [stage.first_reference for stage in config.stages[7:]] == ["original"] + ["coded"] * 15
    # weights are carried on everywhere, the optimiser's state only within a row group of the tables
    fresh = [number for number, stage in enumerate(config.stages) if not stage.carry_optimiser]
    assert fresh == [0, 3, 7, 10, 15, 21]
    assert (config.optimiser.name, config.loss.balance, config.loss.random_position) == ("adamw", 0.0, False)


def test_unknown_key_in_a_file(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("from nvc_jax.training.config import Data\ndef get_config():\n    return Data(sauce='x')\n")
    with pytest.raises(ConfigError, match="Data has no key 'sauce'; it has source, epoch"):
        load_config(path)
    path.write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load_config(path)
    path.write_text("def get_config():\n    return 1\n")
    with pytest.raises(ConfigError, match="must return a TrainConfig"):
        load_config(path)


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "from nvc_jax.models.codecs import tiny\n"
        "from nvc_jax.training.config import Stage, TrainConfig\n"
        "def get_config():\n"
        "    return TrainConfig(tiny, (Stage('a', frames=2, steps=5, batch=1, size=32),))\n"
    )
    return path


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ([], 1, "no data to train on; set data.source="),
        (["data.source=nowhere"], 1, "nowhere: cannot open the folder of training data"),
        (["data.source=EMPTY"], 1, "holds no video and no PNG sequence"),
        (["data.source=TEXT"], 1, "tried 1: "),
        (["data.source=demo", "data.small=skip", "stages.0.size=512"], 1, "no clip is 512x512 or larger"),
        (["data.source=demo", "init=nowhere"], 1, "nowhere: not a model"),
        (
            ["data.source=demo", "init=embedded", "codec=ui2c_small", "stages.0.frames=3", "stages.0.train=all"],
            1,
            "no parameter of its architecture, embedded, has name and shape of one of ui2c_small",
        ),
        (["data.source=demo", "sead=1"], 1, "has no key 'sead'"),
        (["--steps", "0"], 2, "is not a whole number of at least 1"),
        (["--process-id", "1"], 1, "together, or none of them"),
        (["--what"], 2, "unrecognized"),
    ],
)
def test_mistakes_are_one_sentence(config_file, tmp_path, capsys, settings, code, message):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "TEXT").mkdir()
    (tmp_path / "TEXT" / "notes.txt").write_text("no video")
    settings = [text.replace("EMPTY", f"{tmp_path}/EMPTY").replace("TEXT", f"{tmp_path}/TEXT") for text in settings]
    workdir = tmp_path / "run"
    assert main(["--config", str(config_file), "--workdir", str(workdir), *settings]) == code
    error = capsys.readouterr().err
    assert message in error
    assert code == 2 or error.count("\n") == 1, error
    assert not workdir.exists()


def test_a_folder_that_holds_something_else_is_left_alone(config_file, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.jsonl").write_text("mine")
    command = ["--config", str(config_file), "--workdir", str(tmp_path / "mine"), "data.source=demo"]
    assert main(command) == 1
    assert "holds metrics.jsonl, but no run" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["metrics.jsonl"]


def test_missing_configuration(tmp_path, capsys):
    assert main(["--config", str(tmp_path / "no.py"), "--workdir", str(tmp_path / "run")]) == 1
    assert "no such configuration" in capsys.readouterr().err


def test_ranges_are_checked():
    for settings in (
        {"steps": 0},
        {"steps": 1, "epochs": 1},
        {"steps": 1, "learning_rate": 0.0},
        {"epochs": float("inf")},
    ):
        with pytest.raises(ConfigError):
            Stage("a", frames=2, **settings)
    with pytest.raises(ConfigError, match="carry_optimiser"):
        TrainConfig(tiny, (Stage("a", frames=2, steps=1, carry_optimiser=True),))
    with pytest.raises(ConfigError, match=r"stages\.N\.share is 0 in some stages only"):
        TrainConfig(tiny, (Stage("a", frames=2, steps=1, share=0.5), Stage("b", frames=2, steps=1)))
    with pytest.raises(ConfigError, match="must rise"):
        Data(scale=(2.0, 1.0))
