"""The HTML page: everything inside, nothing from elsewhere."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nvc_jax.errors import EvaluationError
from nvc_jax.evaluation.command import main
from nvc_jax.evaluation.report import make_report
from nvc_jax.evaluation.results import read_results


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
    assert set(report.pictures) == {
        "rd_clips.png", "frames.png", "crop_source.png", "crop_tiny.png", "crop_x264.png"
    }  # fmt: skip
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', report.html)
    assert {base64.b64decode(data) for data in embedded} == set(report.pictures.values())
    assert len(re.findall(r"\ssrc=|<link|<script|@import|url\(", report.html)) == len(embedded)
    for data in report.pictures.values():
        assert min(Image.open(io.BytesIO(data)).size) >= 96
    assert "clips/report.y4m" in report.html
    assert "not defined" in report.html  # two points are too few for a BD-rate
    assert "the test curve has 2 points; a BD-rate needs 4" in report.html
    assert "inter/extractor_context" in report.html


def test_page_without_streams_has_no_crops(results):
    report = make_report({"x264": results["x264"], "again": results["x264"]}, "x264")
    assert set(report.pictures) == {"rd_clips.png", "frames.png"}
    assert "+0.0 %" in report.html


def test_official_results_have_neither_frames_nor_pictures(shared, results, streams):
    vtm = read_results(shared / "data" / "vtm_17.0_yuv420_lowdelay_ip0.json")
    report = make_report({"vtm": vtm, "again": vtm}, "vtm", streams)
    assert set(report.pictures) == {f"rd_{dataset}.png" for dataset in vtm}
    assert "+0.0 %" in report.html
    assert "Frame by frame" not in report.html
    known = set(next(iter(vtm["UVG"]["Beauty_1920x1080_120fps_420_8bit_YUV.yuv"].values())))
    rates = results["x264"]["clips"]["report.y4m"].items()
    official = {"clips": {"report.y4m": {rate: {k: v for k, v in p.items() if k in known} for rate, p in rates}}}
    report = make_report({"official": official, "tiny": results["tiny"]}, "official", streams)
    assert set(report.pictures) == {"rd_clips.png", "frames.png", "crop_source.png", "crop_tiny.png"}


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
    assert set(report.pictures) == {"rd_D.png"}
    assert "not monotone" in report.html
    assert report.notes == (
        "results without MS-SSIM: anchor, test",
        "results without the rate of the coded pictures alone: anchor, test",
    )
    assert "Without MS-SSIM" in report.html
    assert "Coded pictures only" not in report.html
    (tmp_path / "a.json").write_text(json.dumps(small))
    tool = Path(__file__).resolve().parents[2] / "tools" / "make_report.py"
    command = [sys.executable, tool, tmp_path / "a.json", "--anchor", "a", "--output", tmp_path / "r.html"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.count("note: results without") == 2
    for point in rates.values():
        del point["ave_all_frame_psnr"]
    with pytest.raises(EvaluationError, match="test: a point has no ave_all_frame_psnr, which a report needs"):
        make_report({"test": small}, "test")


def test_pictures_too_small_for_msssim(results):
    points = results["x264"]["clips"]["report.y4m"].values()
    assert {point["msssim_planes"] for point in points} == {"y"}  # 96x96
    assert all(point["ave_all_frame_msssim"] == point["ave_all_frame_msssim_y"] > 0.5 for point in points)
    assert all(point["ave_all_frame_msssim_u"] is None for point in points)
