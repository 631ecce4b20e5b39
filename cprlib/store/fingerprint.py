"""What a result was made from, kept beside it and compared before the result is used again.

A fingerprint holds the settings that decide a result, hashes of the content of its inputs (never their paths or times),
and hashes of the networks that it was built on. If a result's fingerprint differs from the one wanted now, the pipeline
makes the result again, and a library call refuses it and names what differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cprlib.store.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

FILE = "fingerprint.json"


@dataclass(frozen=True)
class Fingerprint:
    """What a result is made from.

    Args:
        parts: JSON-like: name -> a plain value or a hash, or a mapping of such; None and {} count as absent.
    """

    parts: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """32 hexadecimal digits over all parts."""
        return hash_of(_flat(self.parts))

    @property
    def history(self) -> tuple[str, ...]:
        """The hashes from before a training was continued with other settings, then the present one."""
        return (*(earlier["fingerprint"] for earlier in self.parts.get("continued", [])), self.hash)

    def differences(self, now: Fingerprint, defaults: Mapping[str, Any] | None = None) -> dict[str, str]:
        """How `now` differs from this fingerprint: name -> a few words, ``{"lr": "lr 0.001 -> 0.01"}``.

        Args:
            now: the fingerprint wanted now.
            defaults: of settings that this fingerprint may be too old to hold, so that a new field with its default
                does not invalidate old results. Settings that `now` does not name no longer matter.
        """
        was, new = {**_flat({"settings": defaults or {}}), **_flat(self.parts)}, _flat(now.parts)
        named = now.parts.get("settings", {})
        names = [n for n in sorted({*was, *new} - {"continued"}) if n.split(".")[0] != "settings" or n[9:] in named]
        return {
            n.removeprefix("settings."): _words(n, was.get(n), new.get(n)) for n in names if was.get(n) != new.get(n)
        }

    def write(self, folder: Path) -> None:
        """Write ``fingerprint.json``."""
        write_json(folder / FILE, {"hash": self.hash, "parts": _plain(self.parts)})

    @classmethod
    def read(cls, folder: Path) -> Fingerprint | None:
        """The fingerprint of a folder, None if there is none.

        Raises:
            ValueError: the file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        saved = read_json(path)
        found = cls(saved.get("parts", {}) if isinstance(saved, dict) else {})
        if not isinstance(saved, dict) or found.hash != saved.get("hash"):
            raise ValueError(f"{path} is damaged; delete its folder and run the step again")
        return found


def deciding_settings(config: Any) -> dict[str, Any]:
    """The fields of a dataclass that decide its result, see :func:`cprlib.store.settings.setting`."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata.get("decides", True)}


def default_settings(kind: type) -> dict[str, Any]:
    """The defaults of the fields that decide a result."""
    chosen = (f for f in fields(kind) if f.metadata.get("decides", True) and f.default is not MISSING)
    return {f.name: f.default for f in chosen}


def hash_of(value: Any) -> str:
    """Hash of a JSON-like value, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def hash_rows(rows: Iterable[Iterable[Any]]) -> str:
    """Hash of a table of plain values, in order."""
    return hash_of([[str(value) for value in row] for row in rows])


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """Hash of the names, types, shapes and values of a network's weights, 32 hexadecimal digits."""
    import torch  # here, as the pipeline only compares and should not wait for it

    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return total.hexdigest()[:32]


def _plain(value: Any) -> Any:
    """As it will be read back from JSON: tuples become lists."""
    return json.loads(json.dumps(value))


def _flat(parts: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; what is None or empty is left out."""
    flat: dict[str, Any] = {}
    for name, value in _plain(dict(parts)).items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{inside}{name}.")
        elif value is not None:
            flat[f"{inside}{name}"] = value
    return flat


def _words(name: str, was: Any, now: Any) -> str:
    name = name.removeprefix("settings.")
    if any(isinstance(x, str) and len(x) == 32 for x in (was, now)):
        return f"other {name.replace('.', ' ')}"
    return f"{name.replace('.', ' ')} {_shown(was)} -> {_shown(now)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
