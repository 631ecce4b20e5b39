"""The pipeline: data -> flow -> InfoNCE, UberNCE -> CoCLR | CPR -> retrieval, classification, mining quality -> tables.

    snakemake --cores 2 --configfile params/toy.yaml [--config run=toy-seed1 seed=1]

The parameter file is flat and shared by all notebooks; see params/. A step is run again when its
result is missing, its input is newer, or a setting that its notebook reads has changed. The executed
notebook is the log of a step, so it is still there when the step fails. Run folders hold checkpoints
and belong to no rule: only the metrics.json that ends a training is an output.
"""

import hashlib
import os
import shlex
import sys

import yaml

from cprlib.cascade import plan_stages
from cprlib.methods import COTRAINED
from cprlib.store.folders import network_folder
from cprlib.notebook.runner import check_shared, notebook_parameters
from cprlib.store.files import atomic_path, project_root, resolve

METHODS = ["random", "infonce", "coclr", "cpr", "ubernce"]
CHATTER = ("Building DAG", "Using shell", "Select jobs", "Execute ", "Complete log", "Elapsed time", "Assuming unrestricted")


def complete(given):
    """The configuration, every name and type checked, with the defaults that several steps share."""
    if not given.get("run"):
        raise WorkflowError("no run to make: give --configfile params/toy.yaml, or another one")
    check_shared(given)
    shared = {"outputs": "outputs", "dataset": "toy", "views": ["rgb", "flow"], "cycles": 1, "methods": METHODS} | given
    mines = ("cpr" in shared["methods"] or shared.get("ablation")) and not shared.get("pretrained")
    if mines and {"K", "num_stages", "ratio", "top_k"} <= given.keys():  # an impossible cascade ends before all training
        plan_stages(given["K"], num_stages=given["num_stages"], ratio=given["ratio"], top_k=given["top_k"])
    return {"manifest": f"{shared['outputs']}/data/{shared['dataset']}/manifest.csv"} | shared


def write_settings(path):
    """Keep the configuration where notebooks read it; an unchanged file is left alone."""
    text = yaml.safe_dump(CONFIG)
    if not path.exists() or path.read_text() != text:
        with atomic_path(path) as tmp:
            tmp.write_text(text)


def read_by(name, without=()):
    """The settings that a notebook reads: when one of them changes, its step is run again."""
    names = notebook_parameters(project_root() / "notebooks" / f"{name}.ipynb").keys()
    return {k: v for k, v in sorted(CONFIG.items()) if k in names and k not in without}


def networks(method, folder=None):
    """What the training of a method's networks ends with."""
    folder = folder or PRETRAINED
    return [f"{network_folder(folder, method, view, CONFIG['cycles'])}/metrics.json" for view in CONFIG["views"]]


def check_pretrained():
    """A run whose networks are to be judged must be finished: they are not trained from here."""
    wanted = [path for method in CONFIG["methods"] for path in networks(method)]
    missing = [path for path in wanted if PRETRAINED != RUN and not os.path.exists(path)]
    if missing:
        raise WorkflowError(
            f"pretrained: '{CONFIG['pretrained']}' lacks {os.path.dirname(missing[0])} ({len(missing)} of {len(wanted)} "
            "networks); run its own parameter file first, or name fewer methods"
        )


def released(wildcards):
    """The published weights that take the place of InfoNCE, where the parameter file names some."""
    path = CONFIG.get(f"released_{wildcards.view}", "")
    return f"-p released {shlex.quote(path)}" if path else ""


def setting(point):
    """A point of the ablation, "num_stages=7 ratio=0.8", as arguments of the runner."""
    pairs = [word.split("=") for word in point.split()]
    if not all(len(pair) == 2 for pair in pairs):
        raise WorkflowError(f"ablation: {point!r} is not a list of name=value")
    return " ".join(f"-p {name} {value}" for name, value in pairs)


def folder(key):
    """A folder that the data set is read from."""
    if key not in CONFIG:
        raise WorkflowError(f"dataset '{CONFIG['dataset']}' needs a line '{key}: FOLDER'")
    return resolve(CONFIG[key])


def data_command():
    """The module of data_prep, with its arguments, that lists the videos of the data set."""
    split = ["--split", CONFIG.get("split", 1)]
    match CONFIG["dataset"]:
        case "toy":
            options = {"--recordings": "toy_recordings", "--takes": "toy_takes"}
            given = [word for o, k in options.items() if k in CONFIG for word in (o, CONFIG[k])]
            words = ["toy_actions", MANIFEST.parent, *given]
        case "folder":
            words = ["own_videos", folder("videos"), VIDEOS]
        case "kinetics":
            words = ["kinetics", folder("videos"), folder("splits"), VIDEOS]
        case "coclr_lmdb":
            words = ["coclr_lmdb", folder("videos"), folder("flow_lmdb"), folder("splits"), VIDEOS, *split]
        case name:
            words = [name, folder("videos"), folder("splits"), VIDEOS, *split]
    return shlex.join(["-m", *map(str, [f"data_prep.{words[0]}", *words[1:]])])


def listing():
    """What own videos there are: when some are added or taken away, the data are made again."""
    videos = folder("videos") if CONFIG["dataset"] == "folder" else None
    if videos is None or not videos.exists():
        return {}
    files = sorted(map(str, videos.rglob("*"))) if videos.is_dir() else [videos.read_text(errors="replace")]
    return {"listing": hashlib.sha1("\n".join(files).encode()).hexdigest()}


def worth_telling(record):
    """Leave out Snakemake's chatter, and that a step failed which has itself said why."""
    text = str(record.msg)
    return not text.startswith(CHATTER) and not text.endswith("exit status 1.")


logger.addFilter(worth_telling)
try:
    CONFIG = complete(config)
except ValueError as error:
    raise WorkflowError(str(error)) from None
RUN = resolve(CONFIG["outputs"]) / CONFIG["run"]
HERE = os.path.relpath(RUN)
MANIFEST = resolve(CONFIG["manifest"])
HAS_FLOW = CONFIG["dataset"] == "coclr_lmdb"  # the source has flow itself
VIDEOS = MANIFEST if HAS_FLOW else MANIFEST.with_name(f"videos{MANIFEST.stem.removeprefix('manifest')}.csv")
PRETRAINED = resolve(CONFIG["outputs"]) / (CONFIG.get("pretrained") or CONFIG["run"])
SWEPT = {point: RUN / "ablation" / point.replace(" ", ",") for point in CONFIG.get("ablation", [])}
SETTINGS = RUN / "params.yaml"
PYTHON = shlex.quote(sys.executable)
NOTEBOOK = f"{PYTHON} -m cprlib.notebook.runner notebooks"
CORES = workflow.cores or 1
HALF = max(1, CORES // 2)  # two trainings side by side


wildcard_constraints:
    view="|".join(CONFIG["views"]),
    method="|".join(METHODS),
    protocol="probe|frozen|finetune",


rule data:
    output:
        VIDEOS,
    params:
        command=data_command(),
        **listing(),
    threads: CORES
    shell:
        "{PYTHON} {params.command} --workers {threads}"


if not HAS_FLOW:

    rule flow:
        input:
            VIDEOS,
        output:
            MANIFEST,
        log:
            RUN / "notebooks/01_flow_extraction.ipynb",
        params:
            read_by("01_flow_extraction", without=("run", "outputs", "seed")),  # runs share it
        threads: CORES
        shell:
            "{NOTEBOOK}/01_flow_extraction.ipynb {log:q} -f {SETTINGS:q} --html"
            " -p videos_csv {input:q} -p workers {threads}"


rule infonce:
    input:
        MANIFEST,
    output:
        RUN / "infonce_{view}/metrics.json",
        RUN / "random_{view}/metrics.json",
    log:
        RUN / "notebooks/02_infonce_{view}.ipynb",
    params:
        read_by("02_infonce_pretraining"),
        released=released,
    threads: HALF
    shell:
        "{NOTEBOOK}/02_infonce_pretraining.ipynb {log:q} -f {SETTINGS:q} --html"
        " -p view {wildcards.view} {params.released}"


rule ubernce:
    input:
        MANIFEST,
    output:
        RUN / "ubernce_{view}/metrics.json",
    log:
        RUN / "notebooks/02_ubernce_{view}.ipynb",
    params:
        read_by("02_infonce_pretraining"),
    threads: HALF
    shell:
        "{NOTEBOOK}/02_infonce_pretraining.ipynb {log:q} -f {SETTINGS:q} --html"
        " -p view {wildcards.view} -p method ubernce"


rule coclr:
    input:
        networks("infonce", RUN),
    output:
        networks("coclr", RUN),
    log:
        RUN / "notebooks/03_coclr.ipynb",
    params:
        read_by("03_coclr_training"),
    threads: HALF
    shell:
        "{NOTEBOOK}/03_coclr_training.ipynb {log:q} -f {SETTINGS:q} --html"


rule cpr:
    input:
        networks("infonce", RUN),
    output:
        networks("cpr", RUN),
    log:
        RUN / "notebooks/04_cpr.ipynb",
    params:
        read_by("04_cpr_training"),
    threads: HALF
    shell:
        "{NOTEBOOK}/04_cpr_training.ipynb {log:q} -f {SETTINGS:q} --html"


for point, place in SWEPT.items():

    rule:
        name:
            f"ablation {point}"
        input:
            networks("infonce", RUN),
        output:
            networks("cpr", place),
        log:
            place / "notebooks/04_cpr.ipynb",
        params:
            read_by("04_cpr_training"),
            point=f"-p run {os.path.relpath(place, resolve(CONFIG['outputs']))} -p init_run {CONFIG['run']} {setting(point)}",
        threads: HALF
        shell:
            "{NOTEBOOK}/04_cpr_training.ipynb {log:q} -f {SETTINGS:q} --html {params.point}"


rule retrieval:
    input:
        MANIFEST,
        [networks(method) for method in CONFIG["methods"]],
    output:
        RUN / "tables/retrieval.csv",
    log:
        RUN / "notebooks/05_retrieval.ipynb",
    params:
        read_by("05_retrieval"),
    threads: HALF
    shell:
        "{NOTEBOOK}/05_retrieval.ipynb {log:q} -f {SETTINGS:q} --html"


# After retrieval, which leaves the features that a probe is trained on.
rule classification:
    input:
        rules.retrieval.output,
    output:
        RUN / "tables/{protocol}_{method}.csv",
    log:
        RUN / "notebooks/06_{protocol}_{method}.ipynb",
    params:
        read_by("06_classification"),
    threads: HALF
    shell:
        "{NOTEBOOK}/06_classification.ipynb {log:q} -f {SETTINGS:q} --html"
        " -p protocol {wildcards.protocol} -p method {wildcards.method}"


rule mining:
    input:
        networks("coclr", RUN),
        networks("cpr", RUN),
    output:
        RUN / "tables/mining.csv",
    log:
        RUN / "notebooks/07_mining_quality.ipynb",
    params:
        read_by("07_mining_quality"),
    threads: HALF
    shell:
        "{NOTEBOOK}/07_mining_quality.ipynb {log:q} -f {SETTINGS:q} --html"


def results(*protocols):
    """The tables of a run: those of other data have no mining quality, as nothing was trained on these."""
    mined = PRETRAINED == RUN and set(COTRAINED) <= set(CONFIG["methods"])
    tables = expand(rules.classification.output, protocol=protocols, method=CONFIG["methods"])
    return [*rules.retrieval.output, *(rules.mining.output if mined else []), *tables]


rule comparison:
    input:
        results("probe"),
    output:
        RUN / "comparison.csv",
    shell:
        "{PYTHON} -m cprlib.report.tables {RUN:q} > /dev/null"


rule ablation:
    input:
        rules.retrieval.output,
        networks("cpr"),
        [networks("cpr", place) for place in SWEPT.values()],
    output:
        RUN / "tables/ablation.csv",
    shell:
        "{PYTHON} -m cprlib.evaluation.ablation {RUN:q}"


# All that the paper reports; fine-tuning and the ablation are many trainings, so `all` leaves them out.
rule tables:
    input:
        results("probe", "finetune"),
        rules.ablation.output if SWEPT else [],
    output:
        RUN / "tables/paper.md",
    log:
        RUN / "notebooks/09_paper_tables.ipynb",
    params:
        read_by("09_paper_tables"),
    shell:
        "{NOTEBOOK}/09_paper_tables.ipynb {log:q} -f {SETTINGS:q} --html"
        " && {PYTHON} -m cprlib.report.tables {RUN:q}"  # the comparison again, with fine-tuning


# Every result is named: of a chain, Snakemake mends only links whose absence it is asked to see.
rule all:
    default_target: True
    input:
        MANIFEST,
        [networks(method) for method in CONFIG["methods"]],
        results("probe"),
        rules.comparison.output,


# Prints the comparison and where the rest lies.
rule show:
    input:
        rules.all.input,
    shell:
        "echo; cat {RUN:q}/comparison.txt; echo; echo 'In {HERE}: comparison.csv, notebooks/ (executed,"
        " and as pages to read in a browser), figures/, tables/, and a folder for every network'"


check_pretrained()
write_settings(SETTINGS)  # last: settings that cannot be run leave nothing behind
