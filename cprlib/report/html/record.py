"""How a run was made, as sections of a report: state of its networks, configuration, provenance, files."""

from pathlib import Path
from urllib.parse import quote

import pandas as pd

from cprlib.report.html.page import Section, Table, time_text
from cprlib.report.run import Network, Run
from cprlib.report.tables.text import UNKNOWN, percent
from cprlib.store.files import project_root
from cprlib.store.sealed import read_sealed


def state_section(run: Run) -> Section:
    """The progress of every network."""
    state, details = run.state
    section = Section("state", "State of the run", [f"{state.capitalize()}: {details}."])
    main, others = ([n for n in run.networks if n.is_main == kind] for kind in (True, False))
    if main:
        section.tables = [Table("Networks; loss and PMR are those of the last epoch", _network_table(main))]
    if others:
        title = f"Classifiers and networks of the ablation: {len(others)}"
        section.folded = [Section("state-others", title, tables=[Table(title, _network_table(others))])]
    if any(network.state != "finished" for network in run.networks):
        section.missing = [
            "Not every network is finished. If no training is running, start the same command again: it keeps finished "
            "networks and continues a half-trained one after its last epoch."
        ]
    return section


def settings_section(run: Run) -> Section:
    """The settings, and how the configuration of each network differs from them."""
    section = Section("settings", "Configuration")
    settings = {name: _plain(value) for name, value in run.settings.items()}
    if settings:
        section.tables = [Table("params.yaml", pd.DataFrame(sorted(settings.items()), columns=["Setting", "Value"]))]
    else:
        section.missing = ["This folder has no params.yaml: only the networks have recorded their settings."]
    found = {n.name: n.folder / "config.json" for n in run.networks if (n.folder / "config.json").exists()}
    configs = {name: {k: _plain(v) for k, v in read_sealed(path).items() if k != "out"} for name, path in found.items()}
    if configs:
        caption = "Settings of each network that differ from params.yaml or are not in it"
        table = Table(caption, _differences(pd.DataFrame(configs).T, settings))
        section.folded = [Section("settings-networks", "Each network", tables=[table])]
    return section


def provenance_section(run: Run) -> Section:
    """Versions, machine, and when the networks were finished."""
    section = Section("provenance", "Provenance")
    paths = [network.folder / "environment.json" for network in run.networks]
    found = pd.DataFrame([read_sealed(path) for path in paths if path.exists()]).fillna("not recorded").astype(str)
    ended = [network.changed for network in run.networks if network.state == "finished"]
    if ended:
        section.text = [f"Networks finished from {time_text(min(ended))} to {time_text(max(ended))} (file times)."]
    if len(found):
        counts = [(name, found[name].value_counts().items()) for name in found]
        rows = [(k, ", ".join(f"{v} ({n})" if n < len(found) else v for v, n in pairs)) for k, pairs in counts]
        frame = pd.DataFrame(rows, columns=["What", "Recorded"])
        section.tables = [Table(f"Recorded by {len(found)} networks at the start of their training", frame)]
    return section


def files_section(run: Run) -> Section:
    """Links to the tables as files, with those of predictions folded."""
    paths = [path for pattern in ("comparison.*", "differences.csv", "tables/*") for path in run.folder.glob(pattern)]
    links = [(p.name, _address(p, run.folder)) for p in sorted(paths) if p.suffix in (".csv", ".md", ".txt", ".json")]
    predictions = [link for link in links if link[0].startswith("predictions_")]
    section = Section("files", "Numbers as files", links=[link for link in links if link not in predictions])
    if predictions:
        title = f"Predictions for every test video: {len(predictions)}"
        section.folded = [Section("predictions", title, links=predictions)]
    return section


def notebook_links(run: Path, start: Path) -> list[tuple[str, str]]:
    """Name and address, relative to the folder `start`, of the executed notebooks as HTML."""
    paths = [p for pattern in ("notebooks", "ablation/*/notebooks") for p in sorted(run.glob(f"{pattern}/*.html"))]
    names = [path.relative_to(run).with_suffix("").as_posix().replace("notebooks/", "") for path in paths]
    return [(name, _address(path, start)) for name, path in zip(names, paths, strict=True)]


def _address(path: Path, start: Path) -> str:
    return quote(path.relative_to(start).as_posix())


def _network_table(networks: list[Network]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Network": n.name,
            "State": n.state,
            "Trained": n.progress if n.state != "not started" else UNKNOWN,
            "Loss": UNKNOWN if (loss := n.last.get("loss")) is None else f"{loss:.3f}",
            "PMR (%)": percent(n.last.get("pmr")),
            "Last change": time_text(n.changed),
        }
        for n in networks
    )


def _plain(value: object) -> str:
    """A setting as text: lists with commas, dicts with colons, nothing as a dash, paths without the project's."""
    if isinstance(value, dict):
        value = [f"{name}: {_plain(item)}" for name, item in value.items()]
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or UNKNOWN
    return UNKNOWN if value is None or value == "" else str(value).replace(f"{project_root()}/", "")


def _differences(configs: pd.DataFrame, settings: dict[str, str]) -> pd.DataFrame:
    """What differs from the settings: first what all networks share, then what each has of its own."""
    shared = {name: values.dropna().iloc[0] for name, values in configs.items() if values.nunique() == 1}
    rows = {"all that have it": shared}
    rows |= {network: config.dropna().drop([*shared], errors="ignore") for network, config in configs.iterrows()}
    texts = {
        network: "; ".join(f"{name} = {value}" for name, value in own.items() if settings.get(name) != value)
        for network, own in rows.items()
    }
    return pd.DataFrame([(name, text or UNKNOWN) for name, text in texts.items()], columns=["Network", "Settings"])
