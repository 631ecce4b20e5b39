"""The paper's figures of a synthetic run: which are drawn, what they show, and why others are missing."""

import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from cprlib.cascade import plan_stages
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.memory import FeatureQueue
from cprlib.report.figures import __main__ as command
from cprlib.report.figures import catalogue
from cprlib.report.figures.cascade_view import typical_query
from cprlib.report.figures.catalogue import describe, save_figures
from cprlib.report.figures.strips import thumbnails
from cprlib.report.figures.style import flow_colour
from cprlib.report.run import Run
from cprlib.store.files import project_root
from cprlib.store.fingerprint import Fingerprint
from cprlib.training.snapshots import read_memory, write_memory

NOTEBOOKS = sorted(project_root().glob("notebooks/*.ipynb"))
PLAN = {"num_stages": 3, "ratio": 0.5, "top_k": 4}


def mine(manifest, folder, seed, epochs=2):
    """A mining log with three random rows per training video."""
    train = manifest.split("train").table.set_index("video_id")
    draw = np.random.default_rng(seed)
    for epoch in range(epochs):
        rows = pd.DataFrame([(q, rank, draw.choice(train.index)) for q in train.index for rank in range(3)])
        rows.columns = ["query", "rank", "mined"]
        for side, name in (("query", "query"), ("mined", "mined")):
            rows[f"{name}_label"] = train.label[rows[side]].to_numpy()
            rows[f"{name}_source"] = pd.factorize(train.source_id)[0][train.index.get_indexer(rows[side])]
        rows = rows.assign(epoch=epoch, step=0, correct=rows.query_label == rows.mined_label)
        (folder / "mining.parquet").mkdir(parents=True, exist_ok=True)
        rows.to_parquet(folder / "mining.parquet" / f"epoch-{epoch:04d}.parquet")


def remember(manifest, folder, views):
    """A memory of random features of the training videos."""
    train = manifest.split("train")
    draw = torch.Generator().manual_seed(0)
    queue = FeatureQueue(len(train), 4, views)
    features = {v: torch.nn.functional.normalize(torch.randn(len(train), 4, generator=draw)) for v in views}
    ids = (torch.tensor(train.table[name].to_numpy()) for name in ("video_id", "label"))
    video, label = ids
    queue.enqueue(features, video, torch.tensor(train.source_codes), label)
    write_memory(folder, 1, queue)


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy_manifest):
    """A complete run except fine-tuning and CoCLR's flow network."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    manifest = Manifest.read(toy_manifest)
    for seed, name in enumerate(("cpr_rgb_cycle1", "cpr_rgb_cycle2", "cpr_flow_cycle1", "coclr_rgb_cycle1")):
        mine(manifest, folder / name, seed)
        config = {"manifest": str(toy_manifest), "cache": None, "short_side": 20, "out": str(folder / name), **PLAN}
        (folder / name / "config.json").write_text(json.dumps(config))
        if name.startswith("cpr"):
            remember(manifest, folder / name, ("flow", "rgb") if "rgb" in name else ("rgb", "flow"))
    (folder / "tables").mkdir()
    videos = pd.DataFrame({"class_name": ["B", "A", "A"], "predicted": ["A", "A", "B"], "p_B": 0.5, "p_A": 0.5})
    videos.to_csv(folder / "tables" / "predictions_probe_cpr_both.csv")
    points = pd.DataFrame({"num_stages": [1, 3], "pmr_end": [0.3, 0.5], "view": "rgb", "seed": 0, "ratio": 0.5})
    points = points.assign(top_k=4, anchor="paper", cycles=1, K=36, point=["a", "b"], r1=np.nan)
    points.to_csv(folder / "tables" / "ablation.csv")
    return folder


def figures_of_run(run, seed=0):
    return {figure.name: figure for figure in catalogue.figures_of_run(run, seed)[0]}


def test_every_figure_with_data_in_the_run_is_drawn(run):
    figures = figures_of_run(run)
    mined = [f"fig2_mined_{view}_{number}" for view in ("rgb", "flow") for number in range(3)]
    by_class = [f"fig5_classes_{view}" for view in ("rgb", "flow")]
    by_class += [f"fig6_cmr_{view}_by_{by}" for view in ("rgb", "flow") for by in ("source", "video")]
    cascades = ["fig1_cascade_rgb", "fig1_cascade_flow"]
    others = ["ablation_stages_pmr_end", "confusion_probe_cpr_both"]
    assert list(figures) == [*cascades, *mined, "fig3_mining_curves", *by_class, *others]
    captions = {name: figure.caption for name, figure in figures.items()}
    assert captions["fig1_cascade_flow"].startswith("Figure 1. ") and "flow network" in captions["fig1_cascade_flow"]
    assert "CPR finds" in captions["fig5_classes_rgb"] and "RGB network" in captions["fig5_classes_rgb"]
    assert captions["confusion_probe_cpr_both"].startswith("CPR, linear probe, both views: ")
    assert captions["ablation_stages_pmr_end"].startswith("Ablation of the cascade: PMR over the number of stages")
    assert all(figure.name == name and "{" not in figure.caption for name, figure in figures.items())


def test_the_cascade_figure_shows_the_last_cycle(run):
    memory = read_memory(run / "cpr_flow_cycle1")
    query, *stages = figures_of_run(run, seed=3)["fig1_cascade_flow"].draw().axes
    names, counts = zip(*(axes.texts[0].get_text().split("\n") for axes in stages), strict=True)
    assert names == ("1 · RGB", "2 · Flow", "3 · RGB", "Mined")
    size = len(memory.label)
    assert counts[0].startswith(f"{size // 2} rows, ")
    files = Run(run)
    video = int(memory.video_id[typical_query(memory, plan_stages(size, ("rgb", "flow"), **PLAN), 3)])
    for image, view in zip(query.images, ("rgb", "flow"), strict=True):
        assert np.array_equal(image.get_array(), thumbnails(files.manifest, files.frames(view), view)(video))


def test_figures_use_the_logs_of_all_cycles(run):
    figures = figures_of_run(run)
    curves = figures["fig3_mining_curves"].draw().axes[0]
    lines = {line.get_label(): len(line.get_xdata()) for line in curves.lines}
    assert lines == {"CoCLR": 2, "CPR": 4}  # epochs: one cycle, two cycles
    recalls = figures["fig6_cmr_rgb_by_video"].draw().axes[0]
    log = Run(run).logs["rgb"]["cpr"]
    last = log[(log.epoch == 3) & log.correct]
    by_class = last.groupby("mined_label").mined.nunique()
    bars = next(c for c in recalls.containers if c.get_label() == "CPR")
    shares = sorted(bar.get_width() for bar in bars if bar.get_width())
    assert shares == pytest.approx(sorted(100 * by_class / 3))  # of three training videos
    confusion = figures["confusion_probe_cpr_both"].draw().axes[0]
    assert [t.get_text() for t in confusion.get_yticklabels()] == ["B", "A"]  # in the order of their labels
    assert confusion.images[0].get_array().tolist() == [[0, 100], [50, 50]]


def test_queries_are_random_and_depend_on_the_seed(run):
    def query(seed):
        return figures_of_run(run, seed)["fig2_mined_flow_0"].draw().axes[0].images[0].get_array().tobytes()

    assert query(0) == query(0) and len({query(seed) for seed in range(4)}) > 1


def test_figures_are_written_and_missing_ones_explained(tmp_path, monkeypatch, capsys):
    small = tmp_path / "small"
    (small / "tables").mkdir(parents=True)
    (small / "params.yaml").write_text("run: small\nviews: [rgb, flow, residual]\n")
    (small / "tables" / "predictions_probe_cpr_both.csv").write_text("class_name,predicted,p_A\nA,A,1.0\n")
    monkeypatch.setattr(sys, "argv", ["figures", str(small), "--formats", "pdf", "png"])
    command.main()
    written = ["confusion_probe_cpr_both.pdf", "confusion_probe_cpr_both.png", "captions.txt"]
    assert sorted(path.name for path in (small / "figures" / "paper").iterdir()) == sorted(written)
    captions = (small / "figures" / "paper" / "captions.txt").read_text()
    assert captions.startswith("confusion_probe_cpr_both\nCPR, linear probe, all views: ")
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [str(small / "figures" / "paper" / name) for name in written]
    reasons = dict(line.split(" is left out: ") for line in printed[3:])
    assert [name[:4] for name in reasons] == ["fig1", "fig2", "fig3", "cotr", "fig5", "fig6", "abla"]
    assert "notebook 04" in reasons["fig1_cascade"] and "make tables" in reasons["ablation"]


def test_a_figure_that_cannot_be_drawn_does_not_stop_the_others(run, tmp_path, monkeypatch):
    kept = [line for line in catalogue.FIGURES if line.name.startswith(("fig1", "fig3"))]
    monkeypatch.setattr(catalogue, "FIGURES", kept)
    monkeypatch.setattr(Run, "manifest", property(lambda self: Manifest.read(tmp_path / "gone.csv")))
    paths, left_out = save_figures(run, tmp_path / "out", ("png",))
    assert [path.name for path in paths] == ["fig3_mining_curves.png", "captions.txt"]
    assert set(left_out) == {"fig1_cascade_rgb", "fig1_cascade_flow"} and "gone.csv" in left_out["fig1_cascade_rgb"]


def test_notebook_figures_are_in_the_same_catalogue():
    def told(name, *views):
        figure = describe(name, views or ("rgb", "flow"))[1]
        return figure.section, figure.caption

    assert told("mined_flow_0")[1].startswith("Figure 2. ") and "flow network, example 1" in told("mined_flow_0")[1]
    assert told("mining_curves") == told("fig3_mining_curves") and told("mining_curves")[0] == "mining"
    assert "share of each class's videos that" in told("cmr_rgb_by_video")[1]
    assert told("ablation_stages_cmr_source")[1].startswith("Ablation of the cascade: Median CMR over the number of")
    assert told("ablation_top_k")[1].startswith("Ablation of the cascade: PMR for each top k")
    assert told("confusion_finetune_ubernce_rgb")[1].startswith("UberNCE, fine-tuned, RGB: ")
    assert told("confusion_probe_cpr_both", "rgb", "flow", "residual")[1].startswith("CPR, linear probe, all views: ")
    assert told("infonce_flow") == ("training", "Training with InfoNCE: loss of the flow network.")
    assert told("cpr_loss")[0] == "training" and told("my_own") == ("other", "My own.")
    assert told("iic_loss")[0] == "training" and "PMR" in told("iic_mining")[1]
    saved = [re.findall(r'save_figure\(.*\\"(\w+)\\"\)', path.read_text()) for path in NOTEBOOKS]
    names = sorted({name for found in saved for name in found})
    assert {"choice", "flow", "iic_retrieval"} <= {*names}
    assert [name for name in names if describe(name)[0] == len(catalogue.FIGURES)] == []


def test_a_folder_that_is_not_a_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["paper_figures", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"error: {tmp_path} holds no run; runs in"):
        command.main()
    assert not list(tmp_path.iterdir())


def test_changed_training_videos_are_not_drawn(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for network in copy.glob("c*_cycle*"):
        Fingerprint({"settings": {}, "training videos": "of other videos"}).write(network)
    figures, left_out = save_figures(copy, formats=("png",))
    assert not [path for path in figures if path.name.startswith(("fig1", "fig2", "fig5", "fig6"))]
    assert "was trained on other videos" in left_out["fig1_cascade_rgb"]
    (copy / "coclr_rgb_cycle1/mining.parquet/epoch-0000.parquet").write_text("broken")
    _, left_out = save_figures(copy, formats=("png",))
    assert "fig3_mining_curves" in left_out and not any(name.startswith("confusion") for name in left_out)


def test_thumbnails_are_middle_frames_read_once(toy_manifest):
    manifest = Manifest.read(toy_manifest)
    source = open_frames(manifest, ["rgb", "flow"], 20)
    asked = []

    class Counting:
        def frames(self, *arguments):
            asked.append(arguments)
            return source.frames(*arguments)

    middle = int(manifest.table.num_frames[5] // 2)
    rgb, flow = (thumbnails(manifest, Counting(), view) for view in ("rgb", "flow"))
    assert np.array_equal(rgb(5), source.frames(5, "rgb", [middle])[0]) and rgb(np.int64(5)) is rgb(5)
    levels = source.frames(5, "flow", [middle])[0].numpy().astype(float)
    assert np.array_equal(flow(5), flow_colour((levels - 127.5).transpose(2, 0, 1)))
    assert asked == [(5, "rgb", [middle]), (5, "flow", [middle])]
    with pytest.raises(ValueError, match="video_id 4711 is not in the manifest"):
        rgb(4711)
