"""Frontiers, products and choices, by hand."""

import pytest

from nvc_jax.errors import ConfigError
from nvc_jax.search.frontier import (
    LEAST_LOSS,
    Architecture,
    Option,
    choose,
    frontier,
    pairs_in_order,
    product,
    speedup,
    spread,
)
from nvc_jax.search.loss import loss_of


def option(saved, loss, module="a", name=""):
    return Option(module, name or f"{saved} {loss}", saved, loss)


def test_speedup_of_saved_time():
    assert speedup(0.0) == 1.0
    assert speedup(0.375) == pytest.approx(1.6)
    assert speedup(0.5) == pytest.approx(2.0)


def test_frontier_leaves_out_what_is_dominated():
    whole, light, slow, strong, costly = (
        option(0.0, 0.0),
        option(0.2, 2.0),
        option(0.1, 3.0),  # slower and worse than light
        option(0.3, 5.0),
        option(0.3, 6.0),  # as fast as strong, and worse
    )
    assert frontier([costly, slow, strong, whole, light]) == [whole, light, strong]


def test_frontier_with_a_variant_that_gains_drops_the_whole_module():
    better = option(0.1, -0.5)
    assert frontier([option(0.0, 0.0), better]) == [better]


def test_frontier_keeps_one_of_equals():
    assert frontier([option(0.1, 1.0, name="x"), option(0.1, 1.0, name="y")]) == [option(0.1, 1.0, name="x")]


def test_product_adds_losses_and_saved_times():
    frontiers = {"a": [option(0.0, 0.0), option(0.2, 2.0)], "b": [option(0.0, 0.0, "b"), option(0.3, 3.0, "b")]}
    architectures = product(frontiers)
    assert [(a.saved, a.loss) for a in architectures] == [(0.0, 0.0), (0.3, 3.0), (0.2, 2.0), (0.5, 5.0)]
    assert architectures[3].speedup == pytest.approx(2.0)
    assert architectures[3].efficiency == pytest.approx(2.0 / 5.0)
    assert architectures[3].label == "0.2 2.0; 0.3 3.0"


def test_architectures_that_save_more_than_all_of_the_time_are_left_out():
    frontiers = {"a": [option(0.0, 0.0), option(0.6, 2.0)], "b": [option(0.0, 0.0, "b"), option(0.4, 3.0, "b")]}
    assert [a.saved for a in product(frontiers)] == [0.0, 0.4, 0.6]


def test_most_efficient_of_those_that_are_fast_enough():
    gentle = Architecture((option(0.2, 1.0),))  # 1.25, eta 1.25: too slow for 1.6
    good = Architecture((option(0.4, 4.0),))  # 1.67, eta 0.42
    fast = Architecture((option(0.5, 6.0),))  # 2.0, eta 0.33
    assert choose([gentle, good, fast], 1.6) is good
    assert choose([gentle, good, fast], 1.7) is fast
    assert choose([gentle, good, fast], 1.2) is gentle


def test_losses_within_the_noise_count_as_the_least_one():
    free, faster = Architecture((option(0.4, -2.0),)), Architecture((option(0.5, 0.05),))
    assert free.efficiency == pytest.approx(free.speedup / LEAST_LOSS)
    assert choose([free, faster], 1.6) is faster


def test_target_out_of_reach_names_the_fastest():
    architectures = [Architecture((option(0.0, 0.0, name="whole"),)), Architecture((option(0.2, 1.0, name="1/2 L"),))]
    with pytest.raises(
        ConfigError, match=r"no architecture decodes 60 % faster than the teacher; the fastest, 1/2 L, is 25 % faster"
    ):
        choose(architectures, 1.6)


def test_checked_architectures_are_spread_over_the_losses():
    frontiers = {
        "a": [option(0.0, 0.0), *(option(0.1 * n, float(n)) for n in (1, 2, 3))],
        "b": [option(0.0, 0.0, "b"), *(option(0.1 * n, 10.0 * n, "b") for n in (1, 2, 3))],
    }
    architectures = product(frontiers)
    given = architectures[-1]
    chosen = spread(architectures, 3, [given, given])
    assert chosen[0] is given
    assert [a.loss for a in chosen[1:]] == [13.0, 31.0]  # of 11 12 13 21 22 23 31 32
    assert len(spread(architectures, 99, [given])) == 9
    assert spread(architectures, 1, [given, architectures[5]]) == [given]


def test_loss_of_a_curve_apart_from_the_teachers_is_undefined():
    """Twice the bits at equal quality is +100 %, unless less than half of the qualities are shared."""

    def curve(rate, quality):
        points = ({"ave_all_frame_bpp": rate * 2**i, "ave_all_frame_psnr": quality + 2.0 * i} for i in range(4))
        return {"clips": {"demo": dict(enumerate(points))}}

    teacher = curve(0.1, 30.0)
    assert loss_of(teacher, curve(0.2, 30.0)).percent == pytest.approx(100.0)
    found = loss_of(teacher, curve(0.2, 34.0))
    assert (found.percent, found.reason) == (None, "the curves of clips/demo share 20% of their qualities")


def test_pairs_in_the_same_order():
    assert pairs_in_order([1, 2, 3], [10, 30, 20]) == (2, 3)
    assert pairs_in_order([1], [1]) == (0, 0)
