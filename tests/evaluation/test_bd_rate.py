"""BD-rates: identities on real curves, independent integration, and reasons for having none."""

import contextlib
import copy
import io
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation import compare_command, report_command
from nvc_jax.evaluation.bd_rate import METHODS, Curve, bd_rate, compare

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare_bd_rate.py"
LOW_TO_HIGH = Curve((0.01, 0.02, 0.05, 0.1, 0.3), (30.0, 32.0, 35.0, 37.0, 40.0))


@pytest.fixture(scope="session")
def vtm(shared):
    return json.loads((shared / "data" / "vtm_17.0_yuv420_lowdelay_ip0.json").read_text())


def scaled(results, factor):
    """All rates multiplied."""
    shifted = copy.deepcopy(results)
    for point in (point for videos in shifted.values() for rates in videos.values() for point in rates.values()):
        point["ave_all_frame_bpp"] *= factor
    return shifted


@pytest.mark.parametrize("method", METHODS)
def test_known_shifts_of_every_sequence(vtm, method):
    for factor, percent in ((0.9, -10.0), (1.0, 0.0), (1.25, 25.0)):
        comparison = compare(vtm, scaled(vtm, factor), method)
        assert len(comparison.sequences) == sum(map(len, vtm.values()))
        for value in comparison.sequences.values():
            assert value.percent == pytest.approx(percent, abs=1e-6)
            assert value.overlap == pytest.approx(1.0)
        assert comparison.average == pytest.approx(percent, abs=1e-6)


def integrated(anchor, test, log_rate):
    """BD-rate from two functions of quality, by the trapezoidal rule."""
    low, high = max(anchor.qualities[0], test.qualities[0]), min(anchor.qualities[-1], test.qualities[-1])
    x = np.linspace(low, high, 200_001)
    mean = np.trapezoid(log_rate(test)(x) - log_rate(anchor)(x), x) / (high - low)
    return 100 * (10**mean - 1)


def cubic(curve):
    return np.poly1d(np.polyfit(curve.qualities, np.log10(curve.rates), 3))


def pchip(curve):
    return PchipInterpolator(curve.qualities, np.log10(curve.rates))


@pytest.mark.parametrize(("method", "log_rate"), [("cubic", cubic), ("pchip", pchip)])
def test_agrees_with_an_independent_integration(vtm, method, log_rate):
    names = list(vtm["HEVC_B"])
    curves = [Curve.of(vtm["HEVC_B"][name].values()) for name in names]
    for anchor, test in itertools.pairwise(curves):  # content against content: curves that really differ
        assert bd_rate(anchor, test, method).percent == pytest.approx(integrated(anchor, test, log_rate), rel=1e-4)


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        (Curve(LOW_TO_HIGH.rates[:3], LOW_TO_HIGH.qualities[:3]), "the test curve has 3 points; a BD-rate needs 4"),
        (
            Curve(LOW_TO_HIGH.rates, tuple(q + 20 for q in LOW_TO_HIGH.qualities)),
            r"quality ranges do not overlap: 30.00 to 40.00 dB \(anchor\), 50.00 to 60.00 dB \(test\)",
        ),
        (
            Curve(LOW_TO_HIGH.rates, (30.0, 32.0, 31.5, 37.0, 40.0)),
            "test curve is not monotone: quality goes from 32.00 to 31.50 dB at a higher rate",
        ),
        (Curve((0.0, *LOW_TO_HIGH.rates[1:]), LOW_TO_HIGH.qualities), "not positive numbers"),
    ],
)
def test_reasons_for_no_bd_rate(test, reason):
    with pytest.raises(EvaluationError, match=reason):
        bd_rate(LOW_TO_HIGH, test)


def test_means_are_those_of_classes(vtm):
    test = {"UVG": scaled(vtm, 0.5)["UVG"], "HEVC_D": scaled(vtm, 0.8)["HEVC_D"]}
    first = next(iter(test["HEVC_D"]))
    test["HEVC_D"][first] = dict(list(test["HEVC_D"][first].items())[:2])
    comparison = compare(vtm, test)
    assert comparison.classes == pytest.approx({"UVG": -50, "HEVC_D": -20})
    assert comparison.average == pytest.approx(-35)
    assert isinstance(comparison.sequences["HEVC_D", first], EvaluationError)


def test_sequences_that_the_anchor_lacks(vtm):
    first = next(iter(vtm["HEVC_D"]))
    anchor = {"HEVC_D": {name: points for name, points in vtm["HEVC_D"].items() if name != first}}
    comparison = compare(anchor, scaled({"HEVC_D": vtm["HEVC_D"], "UVG": vtm["UVG"]}, 0.8))
    assert str(comparison.sequences["HEVC_D", first]) == "not in the anchor."
    assert comparison.missing("HEVC_D") == 1
    assert comparison.missing("UVG") == len(vtm["UVG"])
    assert comparison.classes == pytest.approx({"HEVC_D": -20})
    with pytest.raises(EvaluationError, match="no sequence is in both results"):
        compare(anchor, {"HEVC_D": {first: vtm["HEVC_D"][first]}})


def run(*arguments):
    """The command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = compare_command.main([str(part) for part in arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def test_tool(tmp_path, vtm, shared):
    anchor = shared / "data" / "vtm_17.0_yuv420_lowdelay_ip0.json"
    (tmp_path / "test.json").write_text(json.dumps({"HEVC_D": scaled(vtm, 0.9)["HEVC_D"]}))
    command = [sys.executable, TOOL, "--anchor", anchor, tmp_path / "test.json", "--json"]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert json.loads(result.stdout)[str(tmp_path / "test.json")]["average"] == pytest.approx(-10)
    shown = run("--anchor", anchor, tmp_path / "test.json", anchor)
    assert shown.returncode == 0
    assert "-10.00" in shown.stdout
    assert "+0.00" in shown.stdout
    (tmp_path / "test.json").write_text(json.dumps({"Mine": vtm["HEVC_D"]}))
    nothing = run("--anchor", anchor, tmp_path / "test.json")
    assert nothing.returncode == 1
    assert nothing.stderr.count("\n") == 1
    assert "no sequence is in both results" in nothing.stderr
    (tmp_path / "test.json").write_text("[1]")
    assert "is no result file" in run("--anchor", anchor, tmp_path / "test.json").stderr


def curve_of(rates, qualities, **more):
    points = {}
    for index, (rate, quality) in enumerate(zip(rates, qualities, strict=True)):
        point = {"ave_all_frame_bpp": rate, "ave_all_frame_psnr": quality}
        points[f"{index:03d}"] = point | {key: values[index] for key, values in more.items()}
    return {"D": {"s": points}}


RATES_, PSNRS = (0.1, 0.2, 0.4, 0.8), (30.0, 33.0, 36.0, 39.0)


def test_rate_of_the_payload_is_never_mixed_with_all_bits(tmp_path):
    payload = {"ave_all_frame_payload_bpp": [rate / 2 for rate in RATES_]}
    anchor = curve_of(RATES_, PSNRS)
    test = curve_of([0.9 * rate for rate in RATES_], PSNRS, **payload)
    assert compare(anchor, test).average == pytest.approx(-10)
    for pair in ((anchor, test), (test, anchor)):
        comparison = compare(*pair, rate="payload")
        assert comparison.average is None
        reason = str(comparison.sequences["D", "s"])
        assert reason == "the results have no ave_all_frame_payload_bpp; `rate` all compares all bits."
    both = compare(curve_of(RATES_, PSNRS, **payload), test, rate="payload")
    assert both.average == pytest.approx(0)
    for name, results in (("anchor", anchor), ("test", test)):
        (tmp_path / f"{name}.json").write_text(json.dumps(results))
    told = run("--anchor", tmp_path / "anchor.json", tmp_path / "test.json", "--rate", "payload")
    assert told.returncode == 1
    assert "the results have no ave_all_frame_payload_bpp" in told.stdout


def test_msssim_of_chroma_that_is_too_small_does_not_count():
    """As 0 it would cap the mean at 0.75: -37 % here instead of -31 %."""
    luma = (0.90, 0.95, 0.98, 0.99)

    def results(scale, chroma):
        mean = [value if chroma is None else 0.75 * value for value in luma]
        keys = {f"ave_all_frame_msssim{part}": values for part, values in (("", mean), ("_y", luma))}
        keys |= {f"ave_all_frame_msssim_{plane}": [chroma] * 4 for plane in "uv"}
        return curve_of([scale * rate for rate in RATES_], PSNRS, **keys)

    for pair in ((None, None), (0.0, 0.0), (0.0, None)):
        anchor, test = results(1, pair[0]), results(0.7, pair[1])
        assert compare(anchor, test, quality="msssim").average == pytest.approx(-30)
    assert "no ave_all_frame_msssim_u" in str(
        compare(results(1, None), results(0.7, None), quality="msssim_u").sequences["D", "s"]
    )


def two_classes():
    first, second = (curve_of([scale * rate for rate in RATES_], PSNRS)["D"]["s"] for scale in (1, 0.9))
    anchor = {"D": {"s": first, "t": first}, "E": {"u": first, "v": first}}
    return anchor, {"D": {"s": second, "t": second, "w": second}, "E": {"u": dict(list(second.items())[:2])}}


def test_nothing_is_left_out_without_a_note(tmp_path):
    for name, results in zip(("anchor", "test"), two_classes(), strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(results))
    comparison = compare(*two_classes())
    assert comparison.absent == (("E", "v"),)
    assert (comparison.missing("D"), comparison.missing("E"), comparison.missing()) == (1, 2, 3)
    shown = run("--anchor", tmp_path / "anchor.json", tmp_path / "test.json").stdout
    assert shown.startswith("BD-rate against anchor, PSNR, all bits")
    for row, cell in {
        "D/s": "-10.00 %", "D/w": "–", "D, mean": "-10.00 % (without 1)", "E, mean": "– (without 2)",
        "mean of classes": "-10.00 % (without 3)",
    }.items():  # fmt: skip
        assert re.search(rf"│ {row} +│ +{re.escape(cell)} │", shown), row
    assert "- test: D/w: not in the anchor.\n" in shown
    assert "- test: E/u: the test curve has 2 points; a BD-rate needs 4.\n" in shown
    assert "- test: sequences of the anchor that are not in it: E/v.\n" in shown


def test_the_anchor_is_a_name_or_a_file_in_both_commands(tmp_path, capsys):
    for folder, scale in (("old", 0.8), ("new", 0.9)):
        (tmp_path / folder).mkdir()
        results = curve_of([scale * rate for rate in RATES_], PSNRS)
        (tmp_path / folder / "model.json").write_text(json.dumps(results))
    (tmp_path / "x265.json").write_text(json.dumps(curve_of(RATES_, PSNRS)))
    models = [str(tmp_path / "old" / "model.json"), str(tmp_path / "new" / "model.json")]
    anchor, page = str(tmp_path / "x265.json"), tmp_path / "r.html"
    for name, results in (("x265", [*models, anchor]), (anchor, [*models, anchor]), (anchor, models)):
        assert compare_command.main([*results, "--anchor", name]) == 0
        shown = capsys.readouterr().out
        assert "BD-rate against x265, PSNR, all bits" in shown
        assert "-20.00 %" in shown
        assert str(tmp_path / "old" / "model ") in shown  # the name alone would be ambiguous
        assert report_command.main([*results, "--anchor", name, "--output", str(page)]) == 0
        assert "BD-rate against x265, PSNR, all bits" in page.read_text()
        assert "<td>-20.0 %</td><td>-10.0 %</td></tr>" in page.read_text()
    for command, options in ((compare_command, []), (report_command, ["--output", str(page)])):
        capsys.readouterr()
        assert command.main([models[0], "--anchor", "x266", *options]) == 1
        told = capsys.readouterr().err
        assert told.endswith("the anchor x266 is neither a result file nor one of the results: model.\n")


def test_msssim_of_luma_is_said(tmp_path):
    luma = (0.90, 0.95, 0.98, 0.99)
    keys = {f"ave_all_frame_msssim{part}": values for part, values in (("", luma), ("_y", luma))}
    for name, chroma in (("ours", {"msssim_planes": ["y"] * 4}), ("official", {})):
        more = keys | {f"ave_all_frame_msssim_{plane}": [None if chroma else 0] * 4 for plane in "uv"} | chroma
        (tmp_path / f"{name}.json").write_text(json.dumps(curve_of(RATES_, PSNRS, **more)))
    shown = run("--anchor", tmp_path / "official.json", tmp_path / "ours.json", "--quality", "msssim").stdout
    assert "BD-rate against official, MS-SSIM, all bits" in shown
    assert "MS-SSIM is of luma alone where chroma is too small for it: D/s." in shown
