"""Variants of modules: by hand, on codecs of several sizes."""

import dataclasses
from fractions import Fraction

import pytest

from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.complexity import packet_complexity
from nvc_jax.models.codecs import CONFIGS, dcvc_rt, kd_nvc_s, kd_nvc_t, rt_small, tiny, ui2c
from nvc_jax.models.config import Stack
from nvc_jax.search.variants import MODULES, PAPER, candidates, inter_of, kept, named, split_blocks, swapped, uniform


def stacks(codec, module):
    return {candidate.name: candidate.stacks for candidate in candidates(codec)[0] if candidate.module == module}


def test_all_candidates_of_dcvc_rt():
    """Blocks, width and FFN of each of the spec's variants; nothing coincides."""
    found, notes = candidates(dcvc_rt)
    assert [sum(c.module == module for c in found) for module in MODULES] == [7, 6, 5]
    assert notes == []
    assert stacks(dcvc_rt, "extractor") == {
        "1/2 L": (Stack(2, 256), Stack(2, 256)),
        "1/2 L (2:1)": (Stack(2, 256), Stack(1, 256)),
        "1/2 L (1:2)": (Stack(1, 256), Stack(2, 256)),
        "1/2 C": (Stack(2, 128), Stack(4, 128)),
        "1/4 C": (Stack(2, 64), Stack(4, 64)),
        "1/4 F": (Stack(2, 256, 1), Stack(4, 256, 1)),
        "1/2 L 1/2 F": (Stack(2, 256, 2), Stack(2, 256, 2)),
    }
    assert stacks(dcvc_rt, "decoder") == {
        "2/3 L": (Stack(2, 256),),
        "1/3 L": (Stack(1, 256),),
        "1/2 C": (Stack(3, 128),),
        "1/2 F": (Stack(3, 256, 2),),
        "2/3 L 1/2 F": (Stack(2, 256, 2),),
        "1/3 L 1/2 F": (Stack(1, 256, 2),),
    }
    assert stacks(dcvc_rt, "reconstruction") == {
        "1/2 C": (Stack(4, 160),),
        "1/4 C": (Stack(4, 80),),
        "1/4 F": (Stack(4, 320, 1),),
        "1/2 L 1/2 C": (Stack(2, 160),),
        "1/2 L 1/2 F": (Stack(2, 320, 2),),
    }


@pytest.mark.parametrize(
    ("name", "student", "parameters", "kmac"),
    [("KD-NVC-S", kd_nvc_s, 16.025, 93.7), ("KD-NVC-T", kd_nvc_t, 14.624, 71.7)],
)
def test_students_of_the_paper_are_compositions(name, student, parameters, kmac):
    found, _ = candidates(dcvc_rt)
    composed = swapped(dcvc_rt, [named(found, *choice) for choice in PAPER[name].items()], student.name)
    assert composed == student
    total = packet_complexity(composed, "inter").total
    assert total.parameters / 1e6 == pytest.approx(parameters, rel=0.005)
    assert total.decode / 1e3 == pytest.approx(kmac, rel=0.005)


def test_variants_that_coincide_are_one_candidate():
    found, notes = candidates(rt_small)
    labels = [candidate.label for candidate in found]
    assert labels[:2] == ["1/2 L", "1/2 L (2:1) = 1/2 L (1:2)"]
    assert "decoder 2/3 L and 1/3 L are one candidate of rt_small." in notes
    assert named(found, "decoder", "1/3 L") == named(found, "decoder", "2/3 L")
    assert named(found, "decoder", "1/3 L").stacks == (Stack(1, 128),)
    with pytest.raises(ConfigError, match=r"the decoder has no candidate '1/5 L'; it has 2/3 L = 1/3 L, 1/2 C"):
        named(found, "decoder", "1/5 L")


def test_variants_that_are_no_smaller_or_do_not_come_out_are_named():
    found, notes = candidates(tiny)
    assert [c.name for c in found if c.module == "decoder"] == ["1/2 C", "1/2 F"]
    assert "decoder 2/3 L, 1/3 L is left out: tiny has no smaller number of blocks." in notes
    odd = tiny.replace("inter", dataclasses.replace(tiny["inter"], recon=Stack(1, 18, 2)))
    _, notes = candidates(odd)
    assert "reconstruction 1/4 C is left out: 1/4 of 18 channels is no whole number." in notes
    assert "reconstruction 1/4 F is left out: 1/4 of an FFN of 2 times the width is below the narrowest, 1." in notes


@pytest.mark.parametrize(
    ("share", "ratio", "before", "after"),
    [
        (Fraction(1, 2), (2, 1), (2, 4), (2, 1)),
        (Fraction(1, 2), (1, 2), (2, 4), (1, 2)),
        (Fraction(1, 2), (2, 1), (3, 7), (3, 2)),
        (Fraction(1, 2), (1, 2), (1, 1), (1, 1)),  # at least one in each
    ],
)
def test_blocks_split_in_a_ratio(share, ratio, before, after):
    reduced = split_blocks(share, ratio)(tuple(Stack(count, 8) for count in before))
    assert tuple(stack.blocks for stack in reduced) == after


def test_blocks_that_are_kept():
    assert [kept(count, Fraction(1, 3)) for count in (1, 2, 3, 4, 5)] == [1, 1, 1, 1, 2]
    assert [kept(count, Fraction(1, 2)) for count in (1, 3, 4)] == [1, 2, 2]  # a half rounds up


def test_every_codec_with_an_inter_network_has_candidates():
    for codec in CONFIGS.values():
        if dict(codec.networks).get("inter"):
            for candidate in candidates(codec)[0]:
                inter_of(swapped(codec, [candidate]))


def test_codec_without_an_inter_network_is_refused():
    with pytest.raises(ConfigError, match="the codec ui2c has no network 'inter' to make smaller; it has pair"):
        candidates(ui2c)


def test_uniform_reduction_is_the_same_share_of_all_widths():
    student = swapped(rt_small, uniform(rt_small, Fraction(3, 4)), "uniform")["inter"]
    names = ("extractor_prior", "extractor_context", "decoder", "recon")
    assert {getattr(student, name) for name in names} == {Stack(2, 96)}
    assert student.encoder == rt_small["inter"].encoder
