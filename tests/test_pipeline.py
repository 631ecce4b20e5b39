"""The Snakefile with params/smoke.yaml: every notebook, from rendered videos to the comparison."""

import nbformat
import pandas as pd
import pytest

from cprlib.methods import COTRAINED
from cprlib.store.folders import training_folder
from tests.pipeline import FETCHES, Pipeline

METHODS = ("random", "infonce", "coclr", "cpr", "ubernce")
STEPS = ("01_flow_extraction", "03_coclr", "04_cpr", "05_retrieval", "07_mining_quality", "09_paper_tables")
STEPS += tuple(f"02_{method}_{view}" for method in ("infonce", "ubernce") for view in ("rgb", "flow"))
STEPS += tuple(f"06_{protocol}_{method}" for protocol in ("probe", "finetune") for method in METHODS)
NETWORKS = [training_folder("", method, view)[1:] for method in METHODS[1:] for view in ("rgb", "flow")]


def test_every_step_writes_its_notebook_and_a_self_contained_page(smoke):
    folder = smoke.outputs / "smoke/notebooks"
    assert {p.stem for p in folder.glob("*.ipynb")} == set(STEPS)
    for step in STEPS:
        cells = nbformat.read(folder / f"{step}.ipynb", as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code), step
        assert not FETCHES.search((folder / f"{step}.html").read_text()), step


def test_networks_tables_and_figures_exist(smoke):
    run = smoke.outputs / "smoke"
    for name in NETWORKS:
        files = {"config.json", "metrics.json", "metrics.jsonl", "checkpoint.pt"}
        assert files <= {p.name for p in (run / name).iterdir()}, name
    assert list((run / "figures").glob("*.png"))
    table = smoke.results()
    assert set(table.method) == set(METHODS) and set(table.view) == {"rgb", "flow", "both"}
    shares = table[["pmr_end", "r1", "probe"]].stack().dropna()  # InfoNCE mines nothing
    assert len(shares) == 4 + 15 + 15 and shares.between(0, 1).all()


def test_tables_of_the_paper_hold_the_measured_numbers(smoke):
    tables = smoke.outputs / "smoke/tables"
    two_stream = pd.read_csv(tables / "two_stream.csv", index_col="Method")
    for method, name in (("cpr", "CPR"), ("random", "Random weights")):
        predictions = pd.read_csv(tables / f"predictions_finetune_{method}_flow.csv")
        named = predictions.filter(like="p_").idxmax(axis=1).str.removeprefix("p_")
        assert (named == predictions.predicted).all()
        accuracy = (named == predictions.class_name).mean()
        assert two_stream.loc[name, "Fine-tuned Flow"] == pytest.approx(100 * accuracy, abs=0.05)
    points = pd.read_csv(tables / "ablation.csv")
    assert set(points.point) == {"default", "num_stages=1", "num_stages=3 ratio=0.8"}
    assert points[points.point == "num_stages=1"].num_stages.eq(1).all()
    default = points[points.point == "default"].set_index("view")
    expected = smoke.results().query("method == 'cpr'").set_index("view")
    for measure in ("pmr_end", "cmr_source", "r1", "probe"):
        assert default[measure].to_dict() == pytest.approx(expected[measure].to_dict(), nan_ok=True)
    assert "built-in (ours, tiny)" in (tables / "paper.md").read_text()


def test_networks_are_evaluated_on_other_videos(smoke):
    """Transfer: nothing is trained, and the numbers belong to the other manifest."""
    other = smoke.outputs / "data/other/manifest.csv"
    config = {"run": "transfer", "pretrained": "smoke", "methods": "[cpr]", "manifest": other, "toy_takes": 1}
    status, printed = smoke.run(**config)
    assert status == 0, printed
    assert not list((smoke.outputs / "transfer").glob("*_cycle*"))
    predictions = pd.read_csv(smoke.outputs / "transfer/tables/predictions_probe_cpr_rgb.csv")
    assert len(predictions) == 18 and predictions.path.str.contains("data/other/").all()
    assert smoke.results("transfer").r1.notna().all()


def test_a_second_run_does_nothing_and_says_so(smoke):
    def times():
        return {p: p.stat().st_mtime_ns for p in smoke.outputs.rglob("*") if p.is_file()}

    before = times()
    status, printed = smoke.run()
    assert status == 0 and "Nothing to be done" in printed
    assert times() == before


def test_only_what_is_missing_or_changed_is_made(smoke):
    seed = smoke.plan(run="seed1", seed=1)
    assert {"infonce", "ubernce", "coclr", "cpr", "retrieval", "probe", "mining", "comparison"} <= seed
    assert not seed & {"data", "flow"}  # shared by all runs
    metrics = smoke.outputs / "smoke/cpr_rgb_cycle1/metrics.json"
    kept = metrics.rename(metrics.with_name("kept.json"))
    assert smoke.plan() == {"all", "cpr", "retrieval", "probe", "mining", "comparison"}
    kept.rename(metrics)
    assert not smoke.plan()


TRAININGS = {"infonce", "ubernce", "coclr", "cpr"}
JUDGED = {"all", "retrieval", "probe", "mining", "comparison"}


@pytest.mark.parametrize(
    ("setting", "rerun"),
    [
        ({"examples": 2}, JUDGED - {"probe"}),
        ({"workers": 1, "device": "cpu", "lr": "1e-3", "momentum": "9e-1"}, set()),  # as written by another hand
        ({"cache": "outputs/not-there"}, {"cache"}),
        ({"probe_epochs": 6}, {"all", "probe", "comparison"}),
        ({"finetune_epochs": 3, "dropout": 0.1}, set()),  # only in `tables`
        ({"top_k": 3}, JUDGED | {"coclr", "cpr"}),
        ({"num_stages": 2}, JUDGED | {"cpr"}),
        ({"infonce_epochs": 3}, JUDGED | TRAININGS),
        ({"lr": 0.002}, JUDGED | TRAININGS),
        ({"short_side": 40}, JUDGED | TRAININGS),
        ({"flow_bound": 2.0}, JUDGED | TRAININGS | {"flow"}),
        ({"toy_takes": 3}, JUDGED | TRAININGS | {"data", "flow"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_changed_setting_reruns_exactly_the_steps_it_decides(smoke, setting, rerun):
    def files():
        return {p: p.stat().st_mtime_ns for p in smoke.outputs.rglob("*")}

    before = files()
    planned = smoke.plan(**setting)
    assert planned - {"all"} == rerun - {"all"}
    assert files() == before  # a dry run writes nothing


def test_a_new_miner_needs_one_line_in_the_table(smoke):
    """Every mining method has a rule that the plan names; settings with another method are refused."""
    assert set(COTRAINED) <= set(smoke.plan(run="another"))


@pytest.mark.parametrize(
    "config, message",
    [
        ({"epcohs": 3}, "unknown parameter 'epcohs'. Did you mean 'epochs'?"),
        ({"epochs": "ten"}, "epochs: expected int, got 'ten' (str)"),
        ({"dataset": "ucf11"}, "dataset: expected one of 'toy', 'ucf101', 'hmdb51', 'kinetics'"),
        ({"dataset": "ucf101"}, "dataset 'ucf101' needs a line 'videos: FOLDER'"),
        ({"run": ""}, "no run to make"),
        ({"pretrained": "nothing"}, "pretrained: 'nothing' lacks"),
        ({"ablation": "[num_stages]"}, "ablation: 'num_stages' is not a list of name=value"),
        ({"ablation": "[top_k=-3]"}, "top_k: -3 must be at least 1"),
        ({"ablation": "[num_stages=9]"}, "ablation: 'num_stages=9': "),
        ({"ablation": "[run=other]"}, "ablation: 'run=other': run decides no result"),
        ({"run": ".."}, "run: '..' in"),
        ({"outputs": __file__}, "test_pipeline.py' is no folder and cannot become one; name another place"),
        ({"cache": f"{__file__}/cache"}, "test_pipeline.py/cache' is no folder and cannot become one"),
        ({"released_rgb": "none.pth.tar"}, "none.pth.tar; correct the path, or download the file"),
        ({"init_run": "none"}, "init_run: no finished network at"),
        ({"manifest": "m.txt"}, "manifest: 'm.txt' must end in .csv or .parquet"),
        ({"finetune_epochs": 0}, "finetune_epochs: 0 must be at least 1"),
        ({"views": "[rgb,rgb]"}, "views: ['rgb', 'rgb']; name at least one, each once"),
    ],
)
def test_a_wrong_setting_fails_at_once(tmp_path, config, message):
    status, printed = Pipeline(tmp_path).run(**config)
    assert status == 1 and message in printed
    assert not (tmp_path / "outputs").exists()


def test_cascade_settings_are_checked_only_in_runs_with_a_cascade(tmp_path):
    cascade = {"num_stages": 9}  # too many for the memory of the smoke run
    status, printed = Pipeline(tmp_path).run("--dry-run", **cascade)
    assert status == 1 and "stages" in printed
    assert "infonce" in Pipeline(tmp_path).plan(methods="[infonce]", ablation="[]", **cascade)


def test_iic_is_trained_on_request(tmp_path):
    planned = Pipeline(tmp_path).plan(methods="[random, iic, iic_cpr]", ablation="[]")
    assert {"iic", "retrieval", "probe"} <= planned and not planned & {"coclr", "cpr", "mining"}
