"""The pipeline: data -> flow -> InfoNCE, UberNCE -> CoCLR | CPR -> retrieval, classification, mining quality -> tables.

    snakemake --cores 2 --configfile params/toy.yaml [--config run=toy-seed1 seed=1]

The parameter file is flat and shared by all notebooks; see params/. A step runs again when its result is missing,
its input is newer, or a setting that decides its result has changed. It then keeps every result whose fingerprint still
matches (cprlib.store.fingerprint) and makes the others again. The executed notebook is the log of a step, so it
survives a failure. The folders of trainings hold checkpoints and belong to no rule: only the metrics.json that
ends a training is an output, and no rule deletes it (`update`).
"""

import os
import re
import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import yaml

from cprlib.cascade import plan_stages
from cprlib.data.files import fingerprint, stored_path
from cprlib.methods import COTRAINED, METHODS, sources_of, views_of
from cprlib.notebook import gpus
from cprlib.notebook.parameters import PICTURES, RECORDED
from cprlib.notebook.runner import check_shared, notebook_parameters, read_params
from cprlib.store.files import atomic_path, locked, project_root, resolve
from cprlib.store.fingerprint import hash_of
from cprlib.store.folders import training_folder

SHARED = [name for name, method in METHODS.items() if not method.views]  # IIC runs only if named
CHATTER = ("Building DAG", "Using shell", "Select jobs", "Execute ", "Complete log", "Elapsed time", "Assuming unrestricted")
CHATTER += ("Warning: the following output files of rule cache",)  # flow extraction made them


def with_numbers(value):
    """A setting with the numbers in its list as numbers: on the command line Snakemake reads them as text."""
    if not isinstance(value, list):
        return value
    return [yaml.safe_load(x) if isinstance(x, str) and re.fullmatch(r"[\d.]+", x) else x for x in value]


def can_be_folder(path):
    """Whether a folder is there, or can be made: no file, link to itself or too long a name is in the way."""
    place = resolve(path)
    there = next(part for part in (place, *place.parents) if os.path.lexists(part))
    return there.is_dir() and "\0" not in path and all(len(os.fsencode(part)) < 240 for part in place.parts)


def complete(given):
    """The configuration with checked names and types, and the defaults that several steps share."""
    if not given.get("run"):
        raise WorkflowError("no run to make: give --configfile params/toy.yaml, or another one")
    given = {name: with_numbers(value) for name, value in given.items()}
    given = check_shared(given)
    if str(given.get("init_run", "")).endswith((".tar", ".pth", ".pt")):
        raise WorkflowError(f"init_run: '{given['init_run']}' is no run; published weights are released_rgb=FILE and released_flow=FILE")
    shared = {"outputs": "outputs", "dataset": "toy", "views": ["rgb", "flow"], "cycles": 1, "methods": SHARED} | given
    if shared["dataset"] == "folder" and "videos" in given:
        from data_prep import proposals  # here, because the import is slow

        proposed = proposals.for_videos(resolve(given["videos"]), shared)
        PROPOSED.append(proposals.told(proposed))
        given = {name: value for name, (value, _) in proposed.items()} | given
        shared |= given
    if not re.fullmatch(r"\w[\w.+-]{,99}", shared["run"]) or re.search(r"[{}]", shared["outputs"]):
        raise WorkflowError(
            f"run: {shared['run']!r} in {shared['outputs']!r}; use letters, digits and . _ + - for a run, a letter or digit "
            "first, and no braces"
        )
    for name, path in {"outputs": shared["outputs"], "cache": shared.get("cache"), "manifest": os.path.dirname(shared.get("manifest", ""))}.items():
        if path and not can_be_folder(path):
            raise ValueError(f"{name}: {path!r} is no folder and cannot become one; name another place")
    for name in ("released_rgb", "released_flow"):
        if given.get(name) and not resolve(given[name]).is_file():
            raise ValueError(f"{name}: no file at {resolve(given[name])}; correct the path, or download the file")
    if not shared.get("manifest", ".csv").endswith((".csv", ".parquet")):
        raise ValueError(f"manifest: {shared['manifest']!r} must end in .csv or .parquet")
    for name in ("views", "methods"):
        if not shared[name] or len(set(shared[name])) < len(shared[name]):
            raise ValueError(f"{name}: {shared[name]}; name at least one, each once")
    points = {point: {name: yaml.safe_load(value) for name, value in pairs_of(point)} for point in shared.get("ablation", [])}
    if not shared.get("pretrained"):
        if set(shared["methods"]) & set(COTRAINED) - {"coclr"}:
            check_cascade(given)
        for point, changes in points.items():
            check_cascade(given | changes, f"ablation: {point!r}: ")
    if given.get("shards", 1) > 1:  # shard jobs run no notebook, so they need its defaults
        shared = {"flow_method": "dis", "flow_bound": 8.0, "flow_short_side": 0, "short_side": 60, "batch_size": 32} | shared
    return {"manifest": f"{shared['outputs']}/data/{shared['dataset']}/manifest.csv"} | shared


def check_cascade(given, where=""):
    """Raise if the cascade is impossible: before any training, not when the first network mines."""
    if {"K", "num_stages", "ratio", "top_k"} <= given.keys():
        plan = {name: given[name] for name in ("num_stages", "ratio", "keeps") if name in given}
        try:
            for top_k in given.get("top_k_phases") or [given["top_k"]]:
                plan_stages(given["K"], top_k=top_k, **plan)
        except ValueError as error:
            raise ValueError(f"{where}{error}") from None


def started(view):
    """The metrics.json of the network that InfoNCE starts from, if the parameter file names a run for it."""
    run = CONFIG.get("init_run")
    if not run or PRETRAINED != RUN:
        return []
    from cprlib.evaluation.video_encoder import network_of  # here, because the import is slow

    try:
        return [network_of(resolve(CONFIG["outputs"]) / run, view) / "metrics.json"]
    except (ValueError, OSError) as error:
        raise WorkflowError(f"init_run: {error}") from None


def write_settings(path):
    """Write the configuration where notebooks read it; an unchanged file is left alone."""
    text = yaml.safe_dump(CONFIG)
    if not path.exists() or path.read_text() != text:
        with atomic_path(path) as tmp:
            tmp.write_text(text)


def read_by(name, without=()):
    """The settings that decide a notebook's results: when one of them changes, its step runs again."""
    names = notebook_parameters(project_root() / "notebooks" / f"{name}.ipynb").keys()
    return {k: v for k, v in sorted(CONFIG.items()) if k in names and k not in {*RECORDED, *without}}


def classified_by(protocol):
    """The settings that decide the results of classification with this protocol."""
    other = {"probe": ("finetune_", "crops", "dropout", "backbone_lr", "held_out", "augmentation", "batch_size", "precision")}
    decayed = ("finetune_epochs", "finetune_milestones", "finetune_lr")  # finetune_decay is of both
    other |= {"finetune": ("probe_",), "frozen": (*decayed, "dropout", "backbone_lr")}
    return {k: v for k, v in read_by("06_classification").items() if not k.startswith(other[protocol])}


def marked(step, settings, folder=None):
    """The file that marks a step as done with these settings; for other settings its name differs, so it is missing.

    Snakemake's own record of settings is lost when `outputs` is moved; these files move along.
    """
    return (folder or RUN) / "settings" / f"{step}-{hash_of(settings)[:12]}"


def marks(step, folder=None):
    """A shell pattern for the marks of a step with any settings. They are deleted before it runs.

    If it fails, what it leaves is of no settings; Snakemake then restores the old metrics.json.
    """
    return f"{shlex.quote(str((folder or RUN) / 'settings'))}/{step}-{'?' * 12}"


def marks_among(paths):
    """The names of the marks among the results that a table is made of.

    A table's own mark holds them, as Snakemake makes a missing input only for a result that is itself missing.
    """
    return [path.name for path in map(Path, paths) if path.parent.name == "settings"]


def networks(method, folder=None, cycles=None):
    """The metrics.json of a method's last networks, written when their training ends."""
    folder, cycles = folder or PRETRAINED, cycles or CONFIG["cycles"]
    folders = [training_folder(folder, method, view, cycles) for view in views_of(method, CONFIG["views"])]
    return [f"{folder}/metrics.json" for folder in dict.fromkeys(folders)]


def check_pretrained():
    """Raise if a network that `pretrained` names is not finished, unless another run of the same paper trains it."""
    wanted = [path for method in CONFIG["methods"] for path in networks(method)]
    missing = [path for path in wanted if PRETRAINED != RUN and not os.path.exists(path)]
    if missing and CONFIG["pretrained"] not in getattr(workflow, "runs", ()):
        raise WorkflowError(
            f"pretrained: '{CONFIG['pretrained']}' lacks {os.path.dirname(missing[0])} ({len(missing)} of {len(wanted)} "
            "networks); run its own parameter file first, or name fewer methods"
        )


def released(view):
    """The argument that replaces InfoNCE by published weights, if the parameter file names some."""
    path = CONFIG.get(f"released_{view}", "")
    return f"-p released {shlex.quote(path)}" if path else ""


def released_content():
    """Hashes of the published weights that take the place of InfoNCE, one per view, "" for none."""
    paths = [CONFIG.get(f"released_{view}") for view in CONFIG["views"]]
    return [fingerprint(resolve(path)) if path else "" for path in paths]


def pairs_of(point):
    """A point of the ablation, "num_stages=7 ratio=0.8", as checked pairs of name and text."""
    pairs = [word.split("=") for word in point.split()]
    if not pairs or not all(len(pair) == 2 and re.fullmatch(r"[\w.+-]+", pair[1]) for pair in pairs):
        raise ValueError(f"ablation: {point!r} is not a list of name=value")
    for name, value in pairs:
        check_shared({name: yaml.safe_load(value)})
        if name in RECORDED:
            raise ValueError(f"ablation: {point!r}: {name} decides no result")
    return pairs


def setting(point):
    """A point of the ablation as arguments of the runner."""
    return " ".join(f"-p {shlex.quote(name)} {shlex.quote(value)}" for name, value in pairs_of(point))


def folder(key):
    """A folder that the data set is read from."""
    if key not in CONFIG:
        raise WorkflowError(f"dataset '{CONFIG['dataset']}' needs a line '{key}: FOLDER'")
    return resolve(CONFIG[key])


def data_command():
    """The data_prep module that lists the videos of the data set, with its arguments."""
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
    """The files of the data set with sizes and times: when one changes, the data step runs again."""
    places = [folder(key) for key in ("videos", "splits", "flow_lmdb") if key in CONFIG]
    found = [stored_path(place, MANIFEST.parent) for place in places]  # as the manifest will hold it
    for place in places:
        files = [place] if place.is_file() else [os.path.join(r, n) for r, _, ns in os.walk(place, followlinks=True) for n in ns]
        stats = [(os.path.relpath(f, place), os.stat(f)) for f in sorted(map(str, files)) if os.path.exists(f)]
        found += [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    options = {key: CONFIG[key] for key in ("dataset", "split", "toy_recordings", "toy_takes") if key in CONFIG}
    return {"files": hash_of(found), **options}


def worth_telling(record):
    """Drop Snakemake's chatter, and its report of a failed step, as the step itself has said why."""
    text = str(record.msg)
    return not text.startswith(CHATTER) and not text.endswith("exit status 1.")


logger.addFilter(worth_telling)
try:
    for file in filter(os.path.isfile, workflow.configfiles):
        read_params(Path(file))  # unlike Snakemake, refuses a name that is given twice
    PROPOSED = []  # as text
    CONFIG = complete(config)
    RELEASED = released_content()
except (ValueError, FileNotFoundError) as error:
    raise WorkflowError(str(error)) from None
LABELLED = True
if CONFIG["dataset"] == "folder":
    from data_prep.own_sources import is_labelled  # here, because the import is slow

    LABELLED = is_labelled(folder("videos"))
if not LABELLED or CONFIG.get("infonce_epochs") == 0:  # UberNCE has InfoNCE's epochs, so it would not be trained either
    CONFIG["methods"] = [method for method in CONFIG["methods"] if not METHODS[method].needs_labels]
RUN = resolve(CONFIG["outputs"]) / CONFIG["run"]
HERE = os.path.relpath(RUN)
MANIFEST = resolve(CONFIG["manifest"])
HAS_FLOW = CONFIG["dataset"] == "coclr_lmdb"  # the source contains flow
VIDEOS = MANIFEST if HAS_FLOW else MANIFEST.with_name(f"videos{MANIFEST.stem.removeprefix('manifest')}.csv")
PRETRAINED = resolve(CONFIG["outputs"]) / (CONFIG.get("pretrained") or CONFIG["run"])
CACHE = resolve(CONFIG["cache"]) if CONFIG.get("cache") else None
SWEPT = {point: RUN / "ablation" / point.replace(" ", ",") for point in CONFIG.get("ablation", [])}
SETTINGS = RUN / "params.yaml"
PYTHON = shlex.quote(sys.executable)
NOTEBOOK = f"{PYTHON} -m cprlib.notebook.runner notebooks"
DEVICES = 0 if CONFIG.get("device") == "cpu" else CONFIG.get("devices", 1)  # how many GPUs a step uses
ON_GPU = f"{PYTHON} -m cprlib.notebook.gpus {DEVICES} {NOTEBOOK}"
CORES = workflow.cores or 1
HALF = max(1, CORES // 2)  # two trainings side by side
SHARDS = CONFIG.get("shards", 1)
UNCACHED = "" if SHARDS == 1 else " -p cache ''"  # then separate rules make the cache, not flow extraction
SOURCES = sources_of(CONFIG["views"])
INFONCE = read_by("02_infonce_pretraining", PICTURES)
DATA, FLOW = f"data{MANIFEST.stem.removeprefix('manifest')}", f"flow-{MANIFEST.stem}"
FLOW_SETTINGS = read_by("01_flow_extraction", without=(*PICTURES, "seed", "short_side"))  # runs share the flow
LISTING = listing()
MINED = [method for method in CONFIG["methods"] if method in COTRAINED]


def cached():
    """The index of each view's frame cache; empty without a cache."""
    size = CONFIG.get("short_side") or "full"
    return [CACHE / f"{view}_{size}.json" for view in SOURCES] if CACHE else []


def shard_mark(step, settings, folder=None):
    """The mark of one of the jobs that share a step; its number is the wildcard `shard`."""
    return marked(f"{{shard}}of{SHARDS}-{step}", settings, folder)


def shards(rule, **wildcards):
    """The outputs of all jobs that share a step; empty if there is only one."""
    return expand(getattr(rules, rule).output, shard=range(SHARDS), **wildcards) if SHARDS > 1 else []


def shard_command(module, *words, **options):
    """The command that runs a module of cprlib as a shard job."""
    pairs = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    return shlex.join(map(str, ["-m", f"cprlib.{module}", *words, *pairs]))


def run_notebook(name, options="", runner="{ON_GPU}"):
    """The command of a step: delete its earlier marks, run its notebook, make the new mark."""
    run = f"{runner}/{name}.ipynb {{log:q}} -f {{SETTINGS:q}} --html {options}".rstrip()
    return f"rm -f {{params.old}}; {run} && touch {{output:q}}"


PROTOCOLS = ("probe", "frozen", "finetune")
JUDGING = {"methods", "batch_size", "centre", "examples", "seed"}  # settings of retrieval that do not change features


wildcard_constraints:
    view="|".join(CONFIG["views"]),
    method="|".join(METHODS),
    shard=r"\d+",


rule data:
    output:
        update(VIDEOS),
        marked(DATA, LISTING, MANIFEST.parent),
    params:
        # functions, because Snakemake would look for wildcards in a text
        command=lambda wildcards: data_command(),
        old=lambda wildcards: marks(DATA, MANIFEST.parent),
    threads: CORES
    shell:
        "rm -f {params.old}; {PYTHON} {params.command} --workers {threads} && touch {output:q}"


# With `shards: 8` eight jobs share the videos; the step itself then finds all done and only joins their results.
if SHARDS > 1 and not HAS_FLOW:

    rule flow_shard:
        input:
            VIDEOS,
        output:
            shard_mark(FLOW, FLOW_SETTINGS, MANIFEST.parent),
        params:
            command=lambda wildcards: shard_command(
                "data.flow",
                VIDEOS,
                MANIFEST.parent / "flow",
                method=CONFIG["flow_method"],
                bound=CONFIG["flow_bound"],
                short_side=CONFIG["flow_short_side"],
                shard=f"{wildcards.shard}/{SHARDS}",
            ),
            others=lambda wildcards: shlex.join(map(str, sorted(MANIFEST.parent.parent.glob("*/flow")))),
            old=lambda wildcards: marks(f"{wildcards.shard}of{SHARDS}-{FLOW}", MANIFEST.parent),
        threads: max(1, CORES // SHARDS)
        shell:
            "rm -f {params.old}; {PYTHON} {params.command} --workers {threads} --others {params.others} && touch {output:q}"


if not HAS_FLOW:

    rule flow:
        input:
            VIDEOS,
            shards("flow_shard"),
        output:
            update(MANIFEST),
            marked(FLOW, FLOW_SETTINGS, MANIFEST.parent),
        log:
            RUN / "notebooks/01_flow_extraction.ipynb",
        params:
            old=lambda wildcards: marks(FLOW, MANIFEST.parent),
        threads: CORES
        shell:
            run_notebook("01_flow_extraction", "-p videos_csv {input[0]:q} -p workers {threads}{UNCACHED}", "{NOTEBOOK}")


if SHARDS > 1 and CACHE:

    rule cache_shard:
        input:
            MANIFEST,
        output:
            shard_mark(f"cache-{CONFIG['short_side']}", SOURCES, CACHE),
        params:
            command=lambda wildcards: shard_command(
                "data.frame_cache",
                MANIFEST,
                CACHE,
                short_side=CONFIG["short_side"],
                shard=f"{wildcards.shard}/{SHARDS}",
            ),
        threads: max(1, CORES // SHARDS)
        shell:
            "{PYTHON} {params.command} --views {SOURCES} --workers {threads} && touch {output:q}"


# Flow extraction makes the cache, as does any step that lacks it; this rule makes it again if it was deleted.
rule cache:
    input:
        MANIFEST,
        shards("cache_shard") if CACHE else [],
    output:
        cached(),
    params:
        short_side=CONFIG.get("short_side", 0),
    threads: CORES
    shell:
        "{PYTHON} -m cprlib.data.frame_cache {input[0]:q} {CACHE:q} --views {SOURCES} --short-side {params.short_side}"
        " --workers {threads} && touch {output:q}"


READY = [MANIFEST, *map(ancient, cached() if SHARDS > 1 else [])]  # what trainings read


rule infonce:
    input:
        READY,
        lambda wildcards: started(wildcards.view),
    output:
        update(RUN / "infonce_{view}/metrics.json"),
        update(RUN / "random_{view}/metrics.json"),
        marked("infonce_{view}", [INFONCE, *RELEASED]),
    log:
        RUN / "notebooks/02_infonce_{view}.ipynb",
    params:
        released=lambda wildcards: released(wildcards.view),
        old=marks("infonce_{view}"),
    threads: HALF
    resources: gpu=DEVICES
    shell:
        run_notebook("02_infonce_pretraining", "-p redo true -p view {wildcards.view} {params.released}")


rule ubernce:
    input:
        READY,
        lambda wildcards: started(wildcards.view),
    output:
        update(RUN / "ubernce_{view}/metrics.json"),
        marked("ubernce_{view}", INFONCE),
    log:
        RUN / "notebooks/02_ubernce_{view}.ipynb",
    params:
        old=marks("ubernce_{view}"),
    threads: HALF
    resources: gpu=DEVICES
    shell:
        run_notebook("02_infonce_pretraining", "-p redo true -p view {wildcards.view} -p method ubernce")


# Both IIC methods, which need no other network: a separate target, or part of a run whose methods name it.
rule iic:
    input:
        READY,
    output:
        update(networks("iic", RUN)),
        update(networks("iic_cpr", RUN)),
        RUN / "tables/iic.csv",
        marked("iic", read_by("08_iic", PICTURES)),
    log:
        RUN / "notebooks/08_iic.ipynb",
    params:
        old=marks("iic"),
    threads: HALF
    resources: gpu=DEVICES
    shell:
        run_notebook("08_iic", "-p redo true")


# CoCLR has its own notebook; all other methods that mine share CPR's.
for method in COTRAINED:
    notebook = "03_coclr_training" if method == "coclr" else "04_cpr_training"
    number = notebook[:2]

    rule:
        name:
            method
        input:
            networks("infonce", RUN),
        output:
            update(networks(method, RUN)),
            marked(method, read_by(notebook, (*PICTURES, "init_run"))),
        log:
            RUN / f"notebooks/{number}_{method}.ipynb",
        params:
            notebook=notebook,
            method="" if method == "coclr" else f"-p method {method} -p init_run {CONFIG['run']}",
            old=marks(method),
        threads: HALF
        resources: gpu=DEVICES
        shell:
            run_notebook("{params.notebook}", "-p redo true {params.method}")


for point, place in SWEPT.items():

    rule:
        name:
            f"ablation {point}"
        input:
            networks("infonce", RUN),
        output:
            update(networks("cpr", place, int(dict(pairs_of(point)).get("cycles", 0)))),
            marked("cpr", read_by("04_cpr_training", (*PICTURES, "init_run")), place),
        log:
            place / "notebooks/04_cpr.ipynb",
        params:
            point=f"-p run {os.path.relpath(place, resolve(CONFIG['outputs']))} -p init_run {CONFIG['run']} {setting(point)}",
            old=marks("cpr", place),
        threads: HALF
        resources: gpu=DEVICES
        shell:
            run_notebook("04_cpr_training", "-p redo true {params.point}")


if SHARDS > 1:

    rule features_shard:
        input:
            READY,
            lambda wildcards: networks(wildcards.method),
        output:
            shard_mark("features_{method}", read_by("05_retrieval", JUDGING)),
        params:
            command=lambda wildcards: shard_command(
                "evaluation.feature_shard",
                *map(os.path.dirname, networks(wildcards.method)),
                manifest=MANIFEST,
                cache=CACHE or "",
                short_side=CONFIG["short_side"],
                batch_size=CONFIG["batch_size"],
                workers=CONFIG.get("workers", 0),
                shard=f"{wildcards.shard}/{SHARDS}",
            ),
            old=lambda wildcards: marks(f"{wildcards.shard}of{SHARDS}-features_{wildcards.method}"),
            gpus=min(1, DEVICES),
        threads: max(1, CORES // SHARDS)
        resources: gpu=min(1, DEVICES)
        shell:
            "rm -f {params.old}; {PYTHON} -m cprlib.notebook.gpus {params.gpus} {PYTHON} {params.command}"
            " && touch {output:q}"


rule retrieval:
    input:
        READY,
        [networks(method) for method in CONFIG["methods"]],
        shards("features_shard", method=CONFIG["methods"]),
    output:
        RUN / "tables/retrieval.csv",
        marked("retrieval", read_by("05_retrieval", ("batch_size",))),
    log:
        RUN / "notebooks/05_retrieval.ipynb",
    params:
        old=marks("retrieval"),
    threads: HALF
    resources: gpu=DEVICES
    shell:
        run_notebook("05_retrieval")


# After retrieval, which saves the features that a probe is trained on.
for protocol in PROTOCOLS:

    rule:
        name:
            protocol
        input:
            MANIFEST,
            ancient(RUN / "tables/retrieval.csv"),
            lambda wildcards: networks(wildcards.method),
        output:
            RUN / f"tables/{protocol}_{{method}}.csv",
            marked(f"{protocol}_{{method}}", classified_by(protocol)),
        log:
            RUN / f"notebooks/06_{protocol}_{{method}}.ipynb",
        params:
            protocol=protocol,
            old=marks(f"{protocol}_{{method}}"),
        threads: HALF
        resources: gpu=DEVICES
        shell:
            run_notebook("06_classification", "-p redo true -p protocol {params.protocol} -p method {wildcards.method}")


rule search:
    input:
        MANIFEST,
        [networks(method) for method in CONFIG["methods"]],
    output:
        RUN / "figures/search.png",
        marked("search", [CONFIG["methods"][-1], read_by("10_search", ("videos", "index"))]),
    log:
        RUN / "notebooks/10_search.ipynb",
    params:
        method=CONFIG["methods"][-1],
        old=marks("search"),
    threads: HALF
    resources: gpu=DEVICES
    shell:
        run_notebook("10_search", "-p method {params.method} -p videos {input[0]:q} -p workers {threads}")


rule mining:
    input:
        [networks(method, RUN) for method in MINED],
    output:
        RUN / "tables/mining.csv",
        marked("mining", read_by("07_mining_quality")),
    log:
        RUN / "notebooks/07_mining_quality.ipynb",
    params:
        old=marks("mining"),
    threads: HALF
    shell:
        run_notebook("07_mining_quality", runner="{NOTEBOOK}")


def results(*protocols):
    """The tables of a run. With `pretrained` there is no mining quality, as nothing was trained on these videos.

    If no class is known, nothing can be measured, but the videos can be searched.
    """
    if not LABELLED:
        return rules.search.output
    judged = [expand(getattr(rules, protocol).output, method=CONFIG["methods"]) for protocol in protocols]
    mined = rules.mining.output if MINED and PRETRAINED == RUN else []
    return [*rules.retrieval.output, *mined, *(path for paths in judged for path in paths)]


def trained():
    """The outputs of data, flow and trainings, each with the mark of its settings."""
    steps = [rules.data.output, *([] if HAS_FLOW else [rules.flow.output])]
    if PRETRAINED == RUN:
        together = {"random": "infonce", "iic_cpr": "iic"}  # one rule makes both
        methods = dict.fromkeys(together.get(method, method) for method in CONFIG["methods"])
        steps += [expand(getattr(rules, method).output, view=CONFIG["views"]) for method in methods]
    return [path for step in steps for path in step]


rule comparison:
    input:
        results("probe"),
    output:
        RUN / "comparison.csv",
    shell:
        "{PYTHON} -m cprlib.report.tables {RUN:q} > /dev/null"


POINTS = [path for point in SWEPT for path in getattr(rules, f"ablation {point}").output]


rule ablation:
    input:
        rules.retrieval.output,
        networks("cpr"),
        POINTS,
    output:
        RUN / "tables/ablation.csv",
        marked("ablation", [list(SWEPT), marks_among(POINTS), classified_by("probe")]),
    params:
        old=marks("ablation"),
    shell:
        "rm -f {params.old}; {PYTHON} -m cprlib.evaluation.ablation {RUN:q} && touch {output:q}"


REPORTED = [*map(str, trained()), *results("probe", "finetune"), *(rules.ablation.output if SWEPT else [])]  # as text: in a paper other runs make some


# Everything that the paper reports; fine-tuning and the ablation take many trainings, so `all` leaves them out.
rule tables:
    input:
        REPORTED,
    output:
        RUN / "tables/paper.md",
        marked("tables", [marks_among(REPORTED), read_by("09_paper_tables")]),
    log:
        RUN / "notebooks/09_paper_tables.ipynb",
    params:
        old=marks("tables"),
    shell:
        "rm -f {params.old}; {NOTEBOOK}/09_paper_tables.ipynb {log:q} -f {SETTINGS:q} --html"
        " && {PYTHON} -m cprlib.report.tables {RUN:q} && touch {output:q}"  # the comparison again, with fine-tuning


# Every result is named, because Snakemake restores a missing intermediate result only if it is asked for it.
rule all:
    default_target: True
    input:
        trained(),
        cached(),
        [networks(method) for method in CONFIG["methods"]],
        results("probe"),
        rules.comparison.output if LABELLED else [],


TOLD = f"cat {shlex.quote(str(RUN))}/comparison.txt" if LABELLED else "echo " + shlex.quote(
    "No class is known, so R@k, the linear probe, mining quality and UberNCE are left out. With a CSV that has a column "
    f"class_name the same command adds them without training again. Neighbours: {HERE}/notebooks/10_search.html"
)


# Prints the comparison and where the other results are.
rule show:
    input:
        rules.all.input,
    shell:
        "echo; {TOLD}; echo; echo 'In {HERE}: notebooks/ (executed, and as pages to read in a browser), figures/,"
        " tables/, and a folder for every network'"


check_pretrained()
if gpus.visible() and not workflow.nodes and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", len(gpus.visible()))  # a step waits for a free one; --resources gpu=N lets N share


def check_clock():
    """Raise if an input is from the future: Snakemake would refuse the results as older, after the work is done."""
    read = {path for job in workflow.dag.needrun_jobs() for path in job.input if os.path.exists(path)}
    if late := [path for path in sorted(read) if os.path.getmtime(path) > time.time() + 60]:
        raise WorkflowError(
            f"{late[0]} is of {time.strftime('%Y-%m-%d %H:%M', time.localtime(os.path.getmtime(late[0])))}, later than this machine's clock "
            f"says it is ({len(late)} such files); set the clock right, or give them the time of now: touch FILE"
        )


HELD = ExitStack()  # the run's lock, held until this process ends


def begin():
    """Lock the run and write its settings. Only at the start, so that dry runs and refused settings leave no files."""
    try:
        HELD.enter_context(locked(RUN, wait=False))
    except OSError as error:
        raise WorkflowError(str(error)) from None
    check_clock()
    if any(PROPOSED) and "show" not in sys.argv:  # `show` only repeats what the first call printed
        print("settings that follow from the videos; each can be set in the parameter file:", *PROPOSED, sep="\n", flush=True)
    write_settings(SETTINGS)


workflow.begins = [*getattr(workflow, "begins", []), begin]  # in paper.smk, those of all runs


onstart:
    for start in workflow.begins:
        start()
