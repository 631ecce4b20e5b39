"""Checkpoints of the released CoCLR and CPR code, read and written without running code from a file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cprlib.encoders import Encoder, ReleasedFlowInput, build_encoder
from cprlib.store.files import atomic_path, resolve
from cprlib.store.tensors import load_safely

PARTS = ("encoder_q", "encoder_k", "sampler")  # the trained network, its momentum copy, the frozen other view
VIEWS = ("rgb", "flow")
FIRST = "backbone.0.0.0.weight"  # first convolution of the S3D here
QUEUES = ("queue", "queue_second", "queue_ptr", "queue_vname", "queue_label", "memory_index_record")  # buffers

# Their S3D registers each layer twice, by name and as an item of a block (whose item 0 is a pool from block 2 on).
LAYERS = {
    **{"Conv_1a": "block1.0", "Conv_2b": "block2.1", "Conv_2c": "block2.2"},
    **{f"Mixed_3{letter}": f"block3.{i}" for i, letter in enumerate("bc", 1)},
    **{f"Mixed_4{letter}": f"block4.{i}" for i, letter in enumerate("bcdef", 1)},
    **{f"Mixed_5{letter}": f"block5.{i}" for i, letter in enumerate("bc", 1)},
}
SEPARABLE = ("conv1", "conv2")  # in space, then in time
STEM = {"Conv_1a": SEPARABLE, "Conv_2b": ("conv",), "Conv_2c": SEPARABLE}
INCEPTION = (
    "branch0.0.conv",
    *(f"branch{branch}.{conv}" for branch in (1, 2) for conv in ("0.conv", "1.conv1", "1.conv2")),
    "branch3.1.conv",
)
HEAD = {"head.0": "2", "head.2": "4"}  # 1x1x1 convolutions there, linear layers here


def load_released(path: str | Path, backbone: str = "s3d", part: str = "encoder_q", view: str = "rgb") -> Encoder:
    """Read a network of a ``.pth.tar`` file of the released CoCLR or CPR code.

    The file does not say which view a network is of. Flow networks were trained on other input than this project's, see
    :class:`cprlib.encoders.ReleasedFlowInput`; with ``view="flow"`` the encoder takes ours, with levels of bound 20.

    Every tensor must be there, in S3D's shape, and equal in both copies of a layer if the file has both; nothing
    unexpected may be there. Only the batch norms' ``num_batches_tracked`` may be missing (old files): no result
    depends on it. The other networks, the queues and the optimiser's state are ignored.

    Args:
        path: the file.
        backbone: "s3d", the one that was released.
        part: "encoder_q" (the trained network), "encoder_k" (its momentum copy) or "sampler" (the frozen network of
            the other view, in files of co-training).
        view: of that part, "rgb" or "flow": encoder_q and encoder_k are of the view that the file is named after,
            sampler is of the other one.

    Returns:
        The encoder, for this project's input, on the CPU, in evaluation mode; its `dim` is the file's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another backbone, part or view, another kind of file, or tensors missing, unexpected or unfit.
    """
    if backbone != "s3d":
        raise ValueError(f"backbone is {backbone!r}; released weights can be read for 's3d' only")
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; choose one of {', '.join(PARTS)}")
    _check_view(view)
    path = resolve(path)
    state = _state_dict(load_safely(path), path)
    if not any(key.startswith(f"{part}.") for key in state):
        held = [other for other in PARTS if any(key.startswith(f"{other}.") for key in state)]
        raise ValueError(f"{path} has no {part}; it has {', '.join(held) or f'only keys such as {_first(state)}'}")
    last = state.get(f"{part}.4.weight", state.get(f"{part}.4.bias"))  # (dim, ...)
    encoder = build_encoder("s3d", len(last) if last is not None and last.ndim else 128)
    if problems := _problems(state, encoder, part):
        raise ValueError(
            f"{path}: {part} is not the released S3D: {'; '.join(problems)}; give an unchanged file of CoCLR or CPR "
            "with the network s3d (not s3dg or r50)"
        )
    names, fresh = _released_keys(encoder, part), encoder.state_dict()
    encoder.load_state_dict({key: state.get(names[key][0], old).reshape(old.shape) for key, old in fresh.items()})
    if view == "flow":
        encoder.input = ReleasedFlowInput()
    return encoder.eval()


def export_released(encoder: Encoder, path: str | Path, epoch: int = 0, *, view: str = "rgb", **extra: object) -> Path:
    """Write an S3D encoder as a ``.pth.tar`` file that the released CoCLR and CPR code reads.

    ``encoder_q`` and ``encoder_k`` are both this network, as in the released code when it starts from a file; each
    layer is there under both names, and stored once. A flow network of this project is converted to give the same
    features for the released code's flow pictures: exactly if red is 128, which JPEG keeps only approximately.

    Args:
        encoder: an S3D, ``build_encoder("s3d", dim)``.
        path: the file to write.
        epoch: number of the last finished epoch, from 0.
        view: the one that the encoder was trained on, "rgb" or "flow".
        extra: further entries of the file, e.g. ``best_acc`` and ``iteration``: numbers, text or tensors.

    Returns:
        The path.

    Raises:
        ValueError: the encoder is not an S3D, or not of that view.
    """
    _check_view(view)
    of_released_flow = isinstance(encoder.input, ReleasedFlowInput)
    if of_released_flow and view != "flow":
        raise ValueError(f"{path} not written: the encoder is of flow, but view is {view!r}; export it as 'flow'")
    with torch.device("meta"):  # names and shapes alone
        plain = build_encoder("s3d", encoder.dim)
    ours = {key: tensor.cpu() for key, tensor in encoder.state_dict().items() if not key.startswith("input.")}
    if {key: t.shape for key, t in ours.items()} != {key: t.shape for key, t in plain.state_dict().items()}:
        raise ValueError(
            f"{path} not written: the encoder is not build_encoder('s3d'), the one network of the released code"
        )
    if view == "flow" and not of_released_flow:
        ours[FIRST] = ReleasedFlowInput().fold(ours[FIRST])
    shapes = _shapes(plain)
    state = {
        name: ours[key].reshape(shapes[key])
        for part in PARTS[:2]
        for key, copies in _released_keys(plain, part).items()
        for name in copies
    }
    path = resolve(path)
    with atomic_path(path) as tmp:  # the released code runs torch 1.4, which cannot read the zip format
        torch.save({**extra, "epoch": epoch, "state_dict": state}, tmp, _use_new_zipfile_serialization=False)
    return path


def _check_view(view: str) -> None:
    if view not in VIEWS:
        raise ValueError(f"view is {view!r}; choose one of {', '.join(VIEWS)}")


def _released_convs() -> Iterator[tuple[str, str]]:
    """Both names of each of the 77 convolutions, in the order of torchvision's S3D."""
    for layer, block in LAYERS.items():
        for conv in STEM.get(layer, INCEPTION):
            yield f"0.{layer}.{conv}", f"0.{block}.{conv}"


def _released_keys(encoder: Encoder, part: str) -> dict[str, tuple[str, ...]]:
    """Key here -> its keys there: one in the head, two in the backbone."""
    modules = {ours: (theirs,) for ours, theirs in HEAD.items()}
    for kind, short in ((nn.Conv3d, "conv"), (nn.BatchNorm3d, "bn")):
        ours = [name for name, module in encoder.named_modules() if isinstance(module, kind)]
        for name, copies in zip(ours, _released_convs(), strict=True):
            modules[name] = tuple(copy.replace("conv", short) for copy in copies)
    split = {key: key.rpartition(".") for key in encoder.state_dict()}
    return {key: tuple(f"{part}.{copy}.{leaf}" for copy in modules[name]) for key, (name, _, leaf) in split.items()}


def _shapes(encoder: Encoder) -> dict[str, tuple[int, ...]]:
    """Key here -> shape there."""
    state = {key: tuple(tensor.shape) for key, tensor in encoder.state_dict().items()}
    return state | {f"{linear}.weight": (*state[f"{linear}.weight"], 1, 1, 1) for linear in HEAD}


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """The tensors of a file, without the prefix of DistributedDataParallel."""
    if isinstance(content, dict) and {"config", "encoder"} <= content.keys():
        raise ValueError(f"{path} is a checkpoint of cprlib, not a released one; use load_encoder or give its folder")
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ValueError(
            f"{path} is not a released checkpoint (a dict whose 'state_dict' maps names to tensors); give a .pth.tar "
            "file of CoCLR or CPR"
        )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    if any(key.startswith("final_fc.") for key in state):
        raise ValueError(
            f"{path} is a classifier of CoCLR's main_classifier.py (backbone and final_fc), without the head of "
            "contrastive learning; give the pretrained network that it was made from"
        )
    return state


def _problems(state: Mapping[str, Tensor], encoder: Encoder, part: str) -> list[str]:
    """Why the tensors of a file are not this encoder: a phrase for each kind of problem."""
    names, shapes = _released_keys(encoder, part), _shapes(encoder)
    has_blocks = any(key.startswith(f"{part}.0.block") for key in state)
    needed = [name for copies in names.values() for name in copies[: 1 + has_blocks]]
    expected = {name: shapes[key] for key, copies in names.items() for name in copies}
    not_needed = tuple(f"{other}." for other in PARTS if other != part)
    both = [copies for copies in names.values() if len(copies) == 2 and all(name in state for name in copies)]
    found = {
        "missing": [key for key in needed if key not in state and not key.endswith(".num_batches_tracked")],
        "unexpected": [k for k in state if k not in expected and k not in QUEUES and not k.startswith(not_needed)],
        "of another shape": [
            f"{key} is {tuple(state[key].shape)}, expected {shape}"
            for key, shape in expected.items()
            if key in state and state[key].shape != shape
        ],
        "unequal in two copies": [f"{a} is not {b}" for a, b in both if not torch.equal(state[a], state[b])],
    }
    return [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in found.items() if keys]


def _first(keys: Mapping[str, object] | list[str], count: int = 3) -> str:
    return ", ".join([*list(keys)[:count], *(["..."] if len(keys) > count else [])])
