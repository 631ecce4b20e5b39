"""Several runs with several seeds as one pipeline, for a paper: shared videos and flow are made once.

    snakemake -s paper.smk --cores 2 --keep-going --configfile params/paper.yaml

When a step fails, those that do not need it go on; at the end `paper.md` in the outputs folder names it and
everything that is still to be done. A second call does not repeat finished steps.
"""

import os
import re
from pathlib import Path

from cprlib.notebook.runner import read_params
from cprlib.store.files import atomic_path, project_root, resolve

RUNS = {}  # name of a module -> the settings of its run
EVERY = {name: value for name, value in config.items() if name not in ("runs", "seeds")}  # settings of all runs
if not config.get("runs") or not config.get("seeds"):
    raise WorkflowError("no runs or no seeds: give --configfile params/paper.yaml, or another one with runs and seeds")
try:
    for file in config["runs"]:
        for seed in config["seeds"]:
            given = read_params(resolve(file)) | EVERY | {"seed": seed}
            for name in ("run", "pretrained", "init_run"):
                given |= {name: re.sub("^[^/]+", rf"\g<0>-seed{seed}", given[name])} if given.get(name) else {}  # toy/cpr: a run's method
            if (name := re.sub(r"\W", "_", given["run"])) in RUNS:
                raise ValueError(f"runs: {given['run']} is named twice; give each parameter file a run of its own")
            RUNS[name] = given
except (ValueError, OSError) as error:
    raise WorkflowError(str(error)) from None

for asked in ("overwrite_threads", "overwrite_resources"):  # a profile names steps as in a single run
    by_rule = getattr(workflow.resource_settings, asked)
    every = {f"{run}_{rule}": value for run in RUNS for rule, value in by_rule.items()}
    setattr(workflow.resource_settings, asked, {**by_rule, **every})

workflow.runs = {given["run"] for given in RUNS.values()}
for name, given in RUNS.items():
    workflow.module(name=name, snakefile=str(project_root() / "Snakefile"), config=given)

    @workflow.userule(rules=["*"], from_module=name, exclude_rules=[], name_modifier=f"{name}_*", lineno=0)
    def use():
        pass


for shared in ("data", "flow_shard", "flow", "cache_shard", "cache"):  # runs on the same videos share these files: the first run makes them
    made = [rule for name in RUNS for rule in workflow.rules if rule.name == f"{name}_{shared}"]
    workflow.ruleorder(*(rule.name for rule in made))
    for rule in made if shared in ("data", "flow") else ():
        (table, mark), same = rule.output[:2], next(other for other in made if other.output[0] == rule.output[0])
        if mark != same.output[1]:
            raise WorkflowError(f"{same.name} and {rule.name} both make {table}, with other settings; give each run a manifest of its own")


# Snakemake runs each command with its own run's globals, but prints it with those of this file.
PYTHON, NOTEBOOK, ON_GPU, SETTINGS, RUN, CACHE = "python", "notebooks", "notebooks", "params.yaml", "RUN", "CACHE"
SOURCES = TOLD = UNCACHED = ""


rule paper:
    default_target: True
    input:
        [getattr(rules, f"{name}_all").input for name in RUNS],
        [getattr(rules, f"{name}_tables").output for name in RUNS],


def report(log):
    """Write the steps, failed ones first, with their states and logs as a table to `paper.md`."""
    failed, rows = workflow.scheduler.failed if workflow.scheduler else (), []
    for job in workflow.dag.jobs:
        if job.rule.name != "paper" and not job.rule.name.endswith(("_all", "_show")) and workflow.dag.needrun(job):
            state = "failed" if job in failed else "done" if workflow.dag.finished(job) else "not done"
            values = " ".join(f"{k}={v}" for k, v in job.wildcards_dict.items())
            rows.append((state != "failed", state != "not done", f"| {job.rule.name} {values} | {state} | {' '.join(map(str, job.log))} |"))
    counts = {state: sum(f"| {state} |" in row[-1] for row in rows) for state in ("done", "failed", "not done")}
    head = ", ".join(f"{count} {state}" for state, count in counts.items())
    with atomic_path(resolve(EVERY.get("outputs", "outputs")) / "paper.md") as tmp:
        tmp.write_text("\n".join([f"Steps of this call: {head}.", "", "| step | state | log |", "|---|---|---|", *(r[-1] for r in sorted(rows)), ""]))
    print(f"{head}; see paper.md")


onstart:
    for start in workflow.begins:
        start()


onsuccess:
    report(log)


onerror:
    report(log)
