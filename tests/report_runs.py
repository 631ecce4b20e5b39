"""Small run folders for reports, and a parser of the resulting pages."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from cprlib.report.tables import comparison as tables

SETTINGS = {"dataset": "toy", "seed": 3, "views": ["rgb", "flow"], "cycles": 1, "methods": ["infonce", "coclr", "cpr"]}
SETTINGS |= {"epochs": 4, "run": "toy", "K": 16}
NETWORKS = ["infonce_rgb", "infonce_flow", "coclr_rgb_cycle1", "coclr_flow_cycle1", "cpr_rgb_cycle1", "cpr_flow_cycle1"]
VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """The parsed page: headings, tables as rows of cells, images, links, anchors, text, open tags."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.headings, self.tables, self.ids, self.texts = [], [], {}, set(), []
        self.images, self.links, self.addresses, self.scopes, self.open = [], [], [], [], []
        self.feed(self.source)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids.add(attributes.get("id"))
        self.addresses += [
            attributes[name] for name in ("src", "href", "srcset", "action", "data") if name in attributes
        ]
        if tag == "img":
            self.images.append(attributes)
        elif tag == "a":
            self.links.append(attributes["href"])
        elif tag == "table":
            self.rows, self.caption = [], ""
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.scopes += [attributes.get("scope")] if tag == "th" else []
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append([int(tag[1]), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)
        if "caption" in self.open:
            self.caption += data
        elif {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings[-1][1] += data


def make_network(run, name, epochs=4, done=4, **config):
    """A network folder; finished if all of its epochs are done."""
    folder = run / name
    folder.mkdir(parents=True)
    method, view = name.split("/")[-1].split("_")[:2]
    config = {"method": method, "view": view, "epochs": epochs, "tau": 0.07, "K": 16, "init": None} | config
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11.7", "torch": "2.15.0"}))
    lines = [json.dumps({"epoch": epoch, "loss": 2 - epoch / 10, "pmr": 0.3 + epoch / 100}) for epoch in range(done)]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if done == epochs:
        (folder / "metrics.json").write_text(json.dumps({"epochs": epochs}))
        (folder / "checkpoint.pt").touch()
    return folder


def make_tables(run, gain=0.1):
    """CPR mines better than CoCLR by `gain` and retrieves worse by 0.05."""
    folder = run / "tables"
    folder.mkdir(parents=True)
    base = {"infonce": 0.3, "coclr": 0.5, "cpr": 0.45}
    retrieval = [
        (m, v, k, base[m] + k / 100 + 0.01 * (v == "both"))
        for m in base
        for v in ("rgb", "flow", "both")
        for k in (1, 5)
    ]
    pd.DataFrame(retrieval, columns=["method", "view", "k", "recall"]).to_csv(folder / "retrieval.csv", index=False)
    mining = [
        (m, v, 0.2, 0.3 + g, 0.4, 0.5 + g, 0.6) for m, g in (("coclr", 0), ("cpr", gain)) for v in ("rgb", "flow")
    ]
    pd.DataFrame(mining, columns=["method", "view", *tables.MINING]).to_csv(folder / "mining.csv", index=False)
    for method, top1 in (("coclr", 0.25), ("cpr", 0.25)):
        rows = pd.DataFrame({"method": method, "view": ["rgb", "flow"], "protocol": "probe", "top1": top1, "top5": 0.9})
        rows.to_csv(folder / f"probe_{method}.csv", index=False)
    (folder / "predictions_probe_cpr_rgb.csv").write_text("video_id\n0\n")
    (folder / "paper_1.csv").write_text("Stages,PMR < 1 (ours)\n1,37.5\n3,\n")
    tables.write_comparison([run], run)


def make_figure(run, name, shade=0):
    (run / "figures").mkdir(exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(run / "figures" / f"{name}.png")


def make_run(outputs, name="toy", networks=NETWORKS, **settings):
    """A finished run."""
    run = outputs / name
    run.mkdir(parents=True)
    (run / "params.yaml").write_text(yaml.safe_dump(SETTINGS | {"run": name} | settings))
    for network in networks:
        make_network(run, network)
    make_tables(run)
    (run / "notebooks").mkdir()
    for notebook in ("04_cpr", "05_retrieval"):
        (run / "notebooks" / f"{notebook}.html").write_text("<p>done</p>")
    figures = ["mining_curves", "retrieval", "confusion_probe_cpr_rgb", "confusion_probe_cpr_both", "my_own"]
    for shade, figure in enumerate(figures):
        make_figure(run, figure, 50 * shade)
    make_network(run, "ablation/num_stages=1,K=320/cpr_rgb_cycle1", num_stages=1, K=32)
    (run / "ablation/num_stages=1,K=320/notebooks").mkdir()
    (run / "ablation/num_stages=1,K=320/notebooks/04_cpr.html").write_text("<p>done</p>")
    return run


def make_half(outputs, name="half"):
    """A run whose CPR network for RGB is in its third epoch, without tables."""
    run = outputs / name
    run.mkdir(parents=True)
    (run / "params.yaml").write_text(yaml.safe_dump(SETTINGS | {"run": name, "ablation": ["num_stages=1"]}))
    for network in NETWORKS[:4]:
        make_network(run, network)
    make_network(run, "cpr_rgb_cycle1", done=2)
    return run
