"""The picture in the documentation."""

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.autoscaling.journal import Look
from benchmarks.autoscaling.judge import Window
from benchmarks.autoscaling.picture import Column, draw

QUIET = Window(at_s=0, per_s=8, answered=20, refused=0, failed=0, p50_s=0.1, p99_s=0.2)
LOST = Window(at_s=15, per_s=40, answered=0, refused=100, failed=0, p50_s=float("nan"), p99_s=float("nan"))
LOOKS = [Look(15, [0.5], 1, 1), Look(30, [None], None, 1), Look(45, [2.5, None], 4, 4)]


def test_it_shows_every_tier_and_says_the_scale_also_where_nobody_was_answered(tmp_path: Path):
    file = tmp_path / "pictures" / "autoscaling.svg"
    looks = {"pre": LOOKS, "predict": LOOKS[:1], "post": LOOKS[:1]}
    column = Column(bottleneck="pre", looks=looks, windows=[QUIET, LOST], beside=LOOKS)
    draw([column], 6.0, 0.7, file)
    said = {element.text for element in ElementTree.parse(file).iter() if element.text}
    assert {"bottleneck: pre", "pre", "predict", "post", "pre, by queue wait", "target"} <= said
    assert "minutes of the cluster (one is 10 s)" in said


def test_the_same_figures_give_the_same_bytes(tmp_path: Path):
    column = Column(
        bottleneck="pre", looks={"pre": LOOKS, "predict": LOOKS, "post": LOOKS}, windows=[QUIET, LOST]
    )
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        draw([column], 6.0, 0.7, file)
    assert files[0].read_bytes() == files[1].read_bytes()
