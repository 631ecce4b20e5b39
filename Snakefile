"""The pipeline: data -> flow -> InfoNCE -> CoCLR | CPR -> retrieval, mining quality -> tables.

    snakemake --cores 2 --configfile params/toy.yaml [--config run=toy-seed1 seed=1]

The parameter file is flat and shared by all notebooks; see params/. A step is run again when its
result is missing, its input is newer, or a setting that its notebook reads has changed. The executed
notebook is the log of a step, so it is still there when the step fails. Run folders hold checkpoints
and belong to no rule: only the metrics.json that ends a training is an output.
"""

import os
import shlex
import sys

import yaml

from cprlib.runner import check_shared, notebook_parameters
from cprlib.runs import atomic_path, project_root, resolve

CHATTER = ("Building DAG", "Using shell", "Select jobs", "Execute ", "Complete log", "Elapsed time")


def complete(given):
    """The configuration, every name and type checked, with the defaults that several steps share."""
    if not given.get("run"):
        raise WorkflowError("no run to make: give --configfile params/toy.yaml, or another one")
    check_shared(given)
    shared = {"outputs": "outputs", "dataset": "toy", "views": ["rgb", "flow"], "cycles": 1} | given
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


def networks(method):
    """What the last cycle of a co-training ends with."""
    return [RUN / f"{method}_{view}_cycle{CONFIG['cycles']}/metrics.json" for view in CONFIG["views"]]


def folder(key):
    """A folder that the data set is read from."""
    if key not in CONFIG:
        raise WorkflowError(f"dataset '{CONFIG['dataset']}' needs a line '{key}: FOLDER'")
    return resolve(CONFIG[key])


def data_command():
    """The module of data_prep, with its arguments, that lists the videos of the data set."""
    match CONFIG["dataset"]:
        case "toy":
            options = {"--recordings": "toy_recordings", "--takes": "toy_takes"}
            given = [word for o, k in options.items() if k in CONFIG for word in (o, CONFIG[k])]
            words = ["toy_actions", MANIFEST.parent, *given]
        case "folder":
            words = ["own_videos", folder("videos"), VIDEOS]
        case name:
            split = ["--split", CONFIG.get("split", 1)]
            words = [name, folder("videos"), folder("splits"), VIDEOS, *split]
    return shlex.join(["-m", *map(str, [f"data_prep.{words[0]}", *words[1:]])])


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
VIDEOS = MANIFEST.parent / "videos.csv"
SETTINGS = RUN / "params.yaml"
PYTHON = shlex.quote(sys.executable)
NOTEBOOK = f"{PYTHON} -m cprlib.runner notebooks"
CORES = workflow.cores or 1
HALF = max(1, CORES // 2)  # two trainings side by side


wildcard_constraints:
    view="|".join(CONFIG["views"]),


rule data:
    output:
        VIDEOS,
    params:
        command=data_command(),
    threads: CORES
    shell:
        "{PYTHON} {params.command} --workers {threads}"


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
    log:
        RUN / "notebooks/02_infonce_{view}.ipynb",
    params:
        read_by("02_infonce_pretraining"),
    threads: HALF
    shell:
        "{NOTEBOOK}/02_infonce_pretraining.ipynb {log:q} -f {SETTINGS:q} --html -p view {wildcards.view}"


rule coclr:
    input:
        expand(rules.infonce.output, view=CONFIG["views"]),
    output:
        networks("coclr"),
    log:
        RUN / "notebooks/03_coclr.ipynb",
    params:
        read_by("03_coclr_training"),
    threads: HALF
    shell:
        "{NOTEBOOK}/03_coclr_training.ipynb {log:q} -f {SETTINGS:q} --html"


rule cpr:
    input:
        expand(rules.infonce.output, view=CONFIG["views"]),
    output:
        networks("cpr"),
    log:
        RUN / "notebooks/04_cpr.ipynb",
    params:
        read_by("04_cpr_training"),
    threads: HALF
    shell:
        "{NOTEBOOK}/04_cpr_training.ipynb {log:q} -f {SETTINGS:q} --html"


rule retrieval:
    input:
        rules.coclr.input,
        rules.coclr.output,
        rules.cpr.output,
    output:
        RUN / "tables/retrieval.csv",
    log:
        RUN / "notebooks/05_retrieval.ipynb",
    params:
        read_by("05_retrieval"),
    threads: HALF
    shell:
        "{NOTEBOOK}/05_retrieval.ipynb {log:q} -f {SETTINGS:q} --html"


rule mining:
    input:
        rules.coclr.output,
        rules.cpr.output,
    output:
        RUN / "tables/mining.csv",
    log:
        RUN / "notebooks/07_mining_quality.ipynb",
    params:
        read_by("07_mining_quality"),
    threads: HALF
    shell:
        "{NOTEBOOK}/07_mining_quality.ipynb {log:q} -f {SETTINGS:q} --html"


rule comparison:
    input:
        rules.retrieval.output,
        rules.mining.output,
    output:
        RUN / "comparison.csv",
    shell:
        "{PYTHON} -m cprlib.report.tables {RUN:q} > /dev/null"


# Every result is named: of a chain, Snakemake mends only links whose absence it is asked to see.
rule all:
    default_target: True
    input:
        rules.flow.output,
        rules.coclr.input,
        rules.comparison.input,
        rules.retrieval.input,
        rules.comparison.output,


# Prints the comparison and where the rest lies.
rule show:
    input:
        rules.all.input,
    shell:
        "echo; cat {RUN:q}/comparison.txt; echo; echo 'In {HERE}: comparison.csv, notebooks/ (executed,"
        " and as pages to read in a browser), figures/, tables/, and a folder for every network'"


write_settings(SETTINGS)  # last: settings that cannot be run leave nothing behind
