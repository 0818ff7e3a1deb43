"""Variants of configurations: references of UI2C, rows of its ablation."""

import pytest

from nvc_jax.errors import ConfigError
from nvc_jax.models.params import parameter_shapes
from nvc_jax.training.settings import load_config


def test_variants_of_configurations(request, tmp_path):
    path = request.config.rootpath / "configs" / "ui2c.py"
    hybrid, late = load_config(path), load_config(f"{path}:late_blank")
    assert {stage.references for stage in hybrid.stages} == {(1.0, 1.0, 1.0)}
    assert [stage.references for stage in late.stages] == [(0.0, 1.0, 0.0)] * 4 + [(1.0, 1.0, 0.0)] * 4
    with pytest.raises(ConfigError, match="unknown references 'early'; available: hybrid, late_blank, blank"):
        load_config(f"{path}:early")
    with pytest.raises(ConfigError, match=r"smoke\.py: has no variants; leave out :small"):
        load_config("smoke:small")
    with pytest.raises(ConfigError, match=r"absent\.py: no such configuration"):
        load_config(f"{tmp_path / 'absent.py'}:x")


ROWS = "separate", "unified", "two_pictures", "hybrid", "late_blank", "separate_heads"


def test_rows_of_the_ablation_train_on_as_many_pictures(request):
    path = request.config.rootpath / "configs" / "ui2c_ablation.py"
    full, rows = load_config("ui2c_small"), {row: load_config(f"{path}:{row}") for row in ROWS}

    def pictures(config):
        """Coded pictures whose network is trained, before the stage for int8 kernels."""
        stages = [stage for stage in config.stages if not stage.rounded]
        counts = (1 if stage.train == "intra" else stage.frames - 1 for stage in stages)
        return sum(count * stage.steps * stage.batch for count, stage in zip(counts, stages, strict=True))

    assert {pictures(config) for config in rows.values()} == {pictures(rows["hybrid"])}
    assert pictures(rows["hybrid"]) == pytest.approx(pictures(full) / 10, rel=0.01)
    assert [rows["late_blank"].stages[n].references for n in (0, -1)] == [(0.0, 1.0, 0.0), (1.0, 1.0, 0.0)]
    assert {stage.references for row in ("unified", "two_pictures") for stage in rows[row].stages} == {(1.0, 0.0, 0.0)}
    for config in rows.values():
        names = parameter_shapes(config.codec)
        assert all(any(pattern in name for name in names) for pattern, _ in config.optimiser.scales)
    with pytest.raises(ConfigError, match="unknown row 'half'; available: separate, unified"):
        load_config(f"{path}:half")
