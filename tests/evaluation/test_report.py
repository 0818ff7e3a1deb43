"""The HTML page: everything inside, nothing from elsewhere."""

import base64
import io
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation import plots
from nvc_jax.evaluation.command import main
from nvc_jax.evaluation.curves import near_in_rate
from nvc_jax.evaluation.plots import styles
from nvc_jax.evaluation.report import make_report
from nvc_jax.evaluation.results import read_results

PLOTS = {"rd_clips_psnr.png", "rd_clips_msssim.png", "frames_bpp.png", "frames_psnr.png"}


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    return tmp_path_factory.mktemp("report") / "streams"


@pytest.fixture(scope="module")
def results(make_clip, tiny_model, streams):
    """Results of two codecs for one clip."""
    clip, output = make_clip(96, 96, 3, "report.y4m"), streams.with_name("all")
    command = ["--model", tiny_model, "x264", "--videos", clip, "--qps", 0, 60, "--output", output]
    assert main([str(argument) for argument in (*command, "--stream-dir", streams)]) == 0
    return {name: read_results(output / f"{name}.json") for name in ("tiny", "x264")}


def test_page_is_self_contained(results, streams):
    report = make_report(results, "x264", streams)
    crops = {"crop_source.png", "crop_tiny.png", "crop_x264.png"}
    assert set(report.pictures) == PLOTS | crops
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', report.html)
    assert {base64.b64decode(data) for data in embedded} == set(report.pictures.values())
    assert len(re.findall(r"\ssrc=|<link|<script|@import|url\(", report.html)) == len(embedded)
    for data in report.pictures.values():
        assert min(Image.open(io.BytesIO(data)).size) >= 96
    assert "clips/report.y4m" in report.html
    assert "tiny: clips/report.y4m: the anchor curve has 6 points" not in report.html
    assert "tiny: clips/report.y4m: the test curve has 2 points; a BD-rate needs 4" in report.html
    assert "inter/extractor_context" in report.html
    assert report.html.count("not timed") == 1  # the model, on 3 frames
    assert "Models are timed on 8 packets or more" in report.html


def test_page_without_streams_has_no_crops(results):
    report = make_report({"x264": results["x264"], "again": results["x264"]}, "x264")
    assert set(report.pictures) == PLOTS
    assert "+0.0 %" in report.html


@pytest.mark.slow
def test_official_results_have_neither_frames_nor_pictures(shared, results, streams):
    vtm = read_results(shared / "data" / "vtm_17.0_yuv420_lowdelay_ip0.json")
    report = make_report({"vtm": vtm, "again": vtm}, "vtm", streams)
    assert set(report.pictures) == {f"rd_{dataset}_{what}.png" for dataset in vtm for what in ("psnr", "msssim")}
    assert "+0.0 %" in report.html
    assert "Frame by frame" not in report.html
    known = set(next(iter(vtm["UVG"]["Beauty_1920x1080_120fps_420_8bit_YUV.yuv"].values())))
    rates = results["x264"]["clips"]["report.y4m"].items()
    official = {"clips": {"report.y4m": {rate: {k: v for k, v in p.items() if k in known} for rate, p in rates}}}
    report = make_report({"official": official, "tiny": results["tiny"]}, "official", streams)
    assert set(report.pictures) == PLOTS | {"crop_source.png", "crop_tiny.png"}
    assert "results without values of every frame: official." in report.notes


def test_what_is_not_there(results):
    with pytest.raises(EvaluationError, match="the anchor vtm is not among the results; they are tiny, x264"):
        make_report(results, "vtm")
    with pytest.raises(EvaluationError, match=r"the sequence a/b is not in all results; these are: clips/report.y4m"):
        make_report(results, "x264", sequence="a/b")


def test_results_of_bits_and_psnr_alone(tmp_path):
    rates = {
        f"{i:03d}": {"ave_all_frame_bpp": 0.1 * 2**i, "ave_all_frame_psnr": quality}
        for i, quality in enumerate((30.0, 33.0, 32.9, 39.0))
    }
    small = {"D": {"s": rates}}
    report = make_report({"anchor": small, "test": small}, "anchor")
    assert set(report.pictures) == {"rd_D_psnr.png"}
    assert "not monotone" in report.html
    missing = ("MS-SSIM", "the rate of the coded pictures alone", "values of every frame", "times")
    assert report.notes == tuple(f"results without {part}: anchor, test." for part in missing)
    assert all(f"<li>{note}</li>" in report.html for note in report.notes)
    assert "BD-rate against anchor, PSNR, all bits" in report.html
    assert "coded pictures only" not in report.html
    (tmp_path / "a.json").write_text(json.dumps(small))
    tool = Path(__file__).resolve().parents[2] / "tools" / "make_report.py"
    command = [sys.executable, tool, tmp_path / "a.json", "--anchor", "a", "--output", tmp_path / "r.html"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.count("note: results without") == 4
    for point in rates.values():
        del point["ave_all_frame_psnr"]
    with pytest.raises(EvaluationError, match="test: a point has no ave_all_frame_psnr, which a report needs"):
        make_report({"test": small}, "test")


def test_pictures_too_small_for_msssim(results):
    points = results["x264"]["clips"]["report.y4m"].values()
    assert {point["msssim_planes"] for point in points} == {"y"}  # 96x96
    assert all(point["ave_all_frame_msssim"] == point["ave_all_frame_msssim_y"] > 0.5 for point in points)
    assert all(point["ave_all_frame_msssim_u"] is None for point in points)
    report = make_report(results, "x264")
    assert "MS-SSIM is of luma alone where chroma is too small for it: clips/report.y4m." in report.notes


def test_page_is_legible_on_a_phone(results, streams):
    """Wide tables scroll, those of settings fold, and no plot is wider than one panel."""
    report = make_report(results, "x264", streams)
    tables = re.findall(r"(.{20})<table(.*?)>", report.html, re.DOTALL)
    assert len(tables) > 5
    assert all('<div class="scroll">' in before or 'class="settings"' in options for before, options in tables)
    assert 'name="viewport" content="width=device-width' in report.html
    for name in PLOTS:
        width, height = Image.open(io.BytesIO(report.pictures[name])).size
        assert width < 1.5 * height
        assert width >= 600  # twice the 300 pixels that are left of 390


def test_settings_are_tables(results):
    html = make_report(results, "x264").html
    for name, value in {
        "options.x264-params.qp": "50, 45, 40, 35, 30, 25", "options.preset": "medium", "frames": "all", "rdoq": "0.06",
        "skip_blocks": "yes", "config.name": "tiny", "precision": "int16",
    }.items():  # fmt: skip
        assert f"<tr><td>{name}</td><td>{value}</td></tr>" in html
    assert html.index("Architecture</summary>") < html.index("<td>config.name</td>")


def point_at(rate, quality=30.0):
    return {"ave_all_frame_bpp": rate, "ave_all_frame_psnr": quality, "frame_bpp": [rate] * 4, "frame_psnr": [30.0] * 4}


def curves_at(**rates):
    return {
        name: {"D": {"s": {f"{i:03d}": point_at(rate, 30.0 + i) for i, rate in enumerate(of_codec)}}}
        for name, of_codec in rates.items()
    }


@pytest.mark.parametrize(
    ("rates", "chosen", "caption"),
    [
        ({"a": (0.1, 0.2, 0.4), "b": (0.15, 0.43, 0.9)}, (0.4, 0.43), "Points of nearly equal rate"),
        ({"a": (0.1, 0.2, 0.4), "b": (0.15, 0.43, 0.9), "c": (0.01, 0.19)}, (0.2, 0.15, 0.19), "nearest in rate"),
        ({"a": (0.1, 0.2), "b": (1.0, 2.0)}, (0.2, 1.0), "The points nearest in rate"),
        ({"a": (1.0, 2.0), "b": (1.09, 4.0)}, (1.0, 1.09), "Points of nearly equal rate"),
    ],
)
def test_frames_are_shown_at_rates_that_are_nearly_equal(rates, chosen, caption):
    report = make_report(curves_at(**rates), "a")
    near = near_in_rate({name: [point_at(rate) for rate in of_codec] for name, of_codec in rates.items()})
    assert tuple(point["ave_all_frame_bpp"] for point in near.values()) == chosen
    said = re.search(r"(Points of nearly equal rate|The points nearest in rate)\s+\((\d+) %", report.html)
    assert caption in said[1]
    assert int(said[2]) == round(100 * (max(chosen) / min(chosen) - 1))


def test_what_the_curves_leave_out_is_said():
    results = curves_at(a=(0.1, 0.2, 0.4), b=(0.1, 0.2, 0.4))
    results["a"]["D"]["t"] = dict(list(results["a"]["D"]["s"].items())[:2])
    results["b"]["E"] = {"u": results["b"]["D"]["s"]}
    notes = make_report(results, "a").notes
    assert "curves of D leave out what not all codecs have: D/t." in notes
    results["b"]["D"]["t"] = results["a"]["D"]["t"]
    notes = make_report(results, "a").notes
    assert "the curve of a over D leaves out 1 points that some sequences lack." in notes
    assert not [note for note in notes if "not all codecs have" in note]


def test_styles_differ_and_stay():
    names = [f"codec {number}" for number in range(16)]
    drawn = styles(names)
    assert len({(style["color"], style["linestyle"]) for style in drawn.values()}) == 16
    first = [tuple(int(style["color"][i : i + 2], 16) for i in (1, 3, 5)) for style in list(drawn.values())[:7]]
    for a, b in itertools.combinations(first, 2):
        assert sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 > 60
    assert styles(names[:3]) == {name: drawn[name] for name in names[:3]}


def test_frames_have_whole_numbers(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "png", lambda figure, dpi: figures.append(figure))
    plots.frame_figure({"a": point_at(0.1)}, styles(["a"]), "frame_psnr", "dB")
    (axis,) = figures[0].axes
    assert all(tick == round(tick) for tick in axis.get_xticks())
