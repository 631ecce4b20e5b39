"""Reading a run folder: state, networks, data."""

import pytest
import yaml

from cprlib.report.run import Run, find_run, find_runs
from tests.report_runs import NETWORKS, SETTINGS, make_half, make_network, make_run, make_tables


def test_state_of_runs(tmp_path):
    run = make_half(tmp_path)
    assert Run(run).state == ("unfinished", "cpr_rgb_cycle1, epoch 2 of 4")
    (run / "cpr_rgb_cycle1/metrics.json").write_text('{"epochs": 2}')
    (run / "cpr_rgb_cycle1/checkpoint.pt").touch()
    assert Run(run).state == ("unfinished", "5 of 6 networks; next: cpr_flow_cycle1")
    make_network(run, "cpr_flow_cycle1")
    assert Run(run).state == ("unfinished", "all 6 networks; results still to come")
    make_tables(run)
    assert Run(run).state == ("finished", "all 6 networks and the comparison")
    make_network(run, "finetune_cpr_rgb", done=0)  # requested after everything was done
    assert Run(run).state == ("unfinished", "finetune_cpr_rgb, epoch 0 of 4")
    (tmp_path / "planned").mkdir()
    (tmp_path / "planned/params.yaml").write_text(yaml.safe_dump(SETTINGS))
    (run / "comparison.csv").unlink()
    (run / "params.yaml").unlink()
    for path in run.glob("finetune_*"):
        path.rename(tmp_path / path.name)
    assert Run(run).state == ("finished", "all 6 networks")  # no comparison was requested
    assert Run(tmp_path / "planned").state == ("not started", "0 of 6 networks; next: infonce_rgb")


def test_other_kinds_of_networks(tmp_path):
    make_run(tmp_path, networks=NETWORKS[:2], methods=["infonce"])
    (tmp_path / "toy/infonce_rgb/metrics.json").write_text('{"epochs": 0, "released": "/models/CoCLR.pth.tar"}')
    (tmp_path / "toy/infonce_flow/metrics.json").write_text('{"epochs": 0}')
    rgb, flow, point = Run(tmp_path / "toy").networks
    assert (rgb.progress, flow.progress) == ("released weights, CoCLR.pth.tar", "untrained weights")
    assert point.name == "ablation/num_stages=1,K=320/cpr_rgb_cycle1"
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "params.yaml").write_text(
        yaml.safe_dump({"pretrained": "toy", "methods": ["infonce"], "dataset": "hmdb51"})
    )
    assert [network.name for network in Run(judge).networks] == ["toy/infonce_rgb", "toy/infonce_flow"]
    assert Run(judge).dataset == "HMDB51" and not Run(judge).mines and Run(tmp_path / "toy").changed


def test_run_by_name_or_folder(tmp_path):
    toy, half = make_run(tmp_path), make_half(tmp_path)
    (tmp_path / "data" / "toy").mkdir(parents=True)  # shared data, not a run
    assert find_run("toy", tmp_path) == find_run(toy) == toy and find_runs(tmp_path) == [half, toy]
    with pytest.raises(FileNotFoundError, match=f"tyo is no folder of a run; runs in {tmp_path}: half, toy"):
        find_run("tyo", tmp_path)
    with pytest.raises(FileNotFoundError, match="data holds no run; runs in"):
        find_run(tmp_path / "data", tmp_path)


def test_broken_files_are_named(tmp_path):
    run = make_run(tmp_path)
    (run / "cpr_rgb_cycle1/metrics.jsonl").write_text('{"epoch": 0')
    with pytest.raises(ValueError, match="cpr_rgb_cycle1/metrics.jsonl: its last line is not JSON"):
        _ = Run(run).networks
    for text, message in (("just words", "expected lines 'name: value'"), ("a: [", "not YAML")):
        (run / "params.yaml").write_text(text)
        with pytest.raises(ValueError, match=f"params.yaml: {message}"):
            _ = Run(run).settings
