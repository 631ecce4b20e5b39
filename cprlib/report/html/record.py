"""How a run came about, as sections of a report: state of its networks, configuration, provenance, files."""

from pathlib import Path
from urllib.parse import quote

import pandas as pd

from cprlib.report.html.page import Section, Table, time_words
from cprlib.report.run_state import Network, is_main
from cprlib.report.tables.comparison import UNKNOWN
from cprlib.store.files import project_root, read_json


def state_section(networks: list[Network], state: str, words: str) -> Section:
    """How far every network is."""
    main = [network for network in networks if is_main(network)]
    others = [network for network in networks if not is_main(network)]
    section = Section("state", "State of the run", [f"{state.capitalize()}: {words}."])
    if main:
        section.tables = [Table("Networks; loss and PMR are those of the last epoch", _network_words(main), 1)]
    if others:
        title = f"Classifiers and networks of the ablation: {len(others)}"
        section.folded = [Section("state-others", title, tables=[Table(title, _network_words(others), 1)])]
    if any(network.state != "finished" for network in networks):
        section.missing = [
            "Not every network is finished. If nothing is training any more, start the same command again: finished "
            "networks are kept, a half-trained one goes on after its last epoch."
        ]
    return section


def settings_section(settings: dict, networks: list[Network]) -> Section:
    """The settings, and what the configuration of each network says beyond them."""
    section = Section("settings", "Configuration")
    if settings:
        rows = [(name, _plain(value)) for name, value in sorted(settings.items())]
        section.tables = [Table("params.yaml", pd.DataFrame(rows, columns=["Setting", "Value"]), 1)]
    else:
        section.missing = ["This folder has no params.yaml: its settings were not recorded in one place."]
    paths = {network.name: network.folder / "config.json" for network in networks}
    configs = pd.DataFrame({name: _flat(read_json(path)) for name, path in paths.items() if path.exists()}).T
    if len(configs):
        words = _differences(configs, settings)
        caption = "What each network was made with that differs from params.yaml or is not in it"
        section.folded = [Section("settings-networks", "Each network", tables=[Table(caption, words, 1)])]
    return section


def provenance_section(networks: list[Network]) -> Section:
    """Versions and machine, and when the networks ended."""
    section = Section("provenance", "Provenance")
    paths = [network.folder / "environment.json" for network in networks]
    found = pd.DataFrame([read_json(path) for path in paths if path.exists()]).fillna("not recorded")
    ended = [network.changed for network in networks if network.state == "finished"]
    if ended:
        section.text = [
            f"Networks finished from {min(ended):%Y-%m-%d %H:%M} to {max(ended):%Y-%m-%d %H:%M} (file times)."
        ]
    if len(found):
        rows = [(name, _with_counts(found[name])) for name in found]
        frame = pd.DataFrame(rows, columns=["What", "Recorded"])
        section.tables = [Table(f"Recorded by {len(found)} networks when they began", frame, 1)]
    return section


def notebooks_section(run: Path) -> Section:
    """Links to the executed notebooks."""
    return Section("notebooks", "Executed notebooks", links=notebook_links(run, run))


def files_section(run: Path) -> Section:
    """Links to the tables as files, the predictions for single videos folded away."""
    section = Section("files", "Numbers as files")
    paths = [path for pattern in ("comparison.*", "tables/*") for path in sorted(run.glob(pattern))]
    links = [(path.name, _address(path, run)) for path in paths if path.suffix in (".csv", ".md", ".txt", ".json")]
    section.links = [link for link in links if not link[0].startswith("predictions_")]
    predictions = [link for link in links if link[0].startswith("predictions_")]
    if predictions:
        section.folded = [
            Section("predictions", f"Predictions for every test video: {len(predictions)}", links=predictions)
        ]
    return section


def notebook_links(run: Path, start: Path) -> list[tuple[str, str]]:
    """Name and address, relative to the folder `start`, of the executed notebooks that a browser can show."""
    paths = [
        path for pattern in ("notebooks", "ablation/*/notebooks") for path in sorted(run.glob(f"{pattern}/*.html"))
    ]
    names = [path.relative_to(run).with_suffix("").as_posix() for path in paths]
    return [(name.replace("notebooks/", ""), _address(path, start)) for name, path in zip(names, paths, strict=True)]


def _address(path: Path, start: Path) -> str:
    return quote(path.relative_to(start).as_posix())


def _network_words(networks: list[Network]) -> pd.DataFrame:
    rows = [
        {
            "Network": network.name,
            "State": network.state,
            "Trained": network.progress if network.state != "not started" else UNKNOWN,
            "Loss": _number(network.last.get("loss"), "{:.3f}"),
            "PMR (%)": _number(network.last.get("pmr"), "{:.1%}").rstrip("%"),
            "Last change": time_words(network.changed),
        }
        for network in networks
    ]
    return pd.DataFrame(rows)


def _number(value: float | None, shape: str) -> str:
    return UNKNOWN if value is None else shape.format(value)


def _flat(config: dict) -> dict[str, str]:
    """A configuration as words; the folder that it lies in says nothing new."""
    return {name: _plain(value) for name, value in config.items() if name != "out"}


def _plain(value: object) -> str:
    """A setting as it is read best: lists with commas, dicts with colons, nothing as a dash, short paths."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) or UNKNOWN
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or UNKNOWN
    return UNKNOWN if value is None or value == "" else str(value).replace(f"{project_root()}/", "")


def _differences(configs: pd.DataFrame, settings: dict) -> pd.DataFrame:
    """What networks share beyond the settings in the first row, then what each has of its own."""
    settings = {name: _plain(value) for name, value in settings.items()}
    shared = {name: values.dropna().iloc[0] for name, values in configs.items() if values.nunique() == 1}
    rows = [("all that have it", {name: value for name, value in shared.items() if settings.get(name) != value})]
    for network, config in configs.iterrows():
        own = {name: value for name, value in config.dropna().items() if name not in shared}
        rows.append((network, {name: value for name, value in own.items() if settings.get(name) != value}))
    words = [(name, "; ".join(f"{key} = {value}" for key, value in own.items()) or UNKNOWN) for name, own in rows]
    return pd.DataFrame(words, columns=["Network", "Settings"])


def _with_counts(values: pd.Series) -> str:
    """The one value of all networks, or each with the number of networks that have it."""
    counts = values.map(str).value_counts()
    return counts.index[0] if len(counts) == 1 else ", ".join(f"{value} ({n})" for value, n in counts.items())
