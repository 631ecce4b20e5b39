"""The memories that queries are compared with and mine from: a queue of past clips, a bank of all videos."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

IDS = ("video_id", "source_id", "label")  # of each row


class _Rows(nn.Module):
    """What both memories share: rows with a feature in each of several views, and the ids of each row's video."""

    views: tuple[str, ...]
    video_id: Tensor
    source_id: Tensor

    @property
    def features(self) -> dict[str, Tensor]:
        """View -> (K, D) float, L2-normalised where filled."""
        return {view: getattr(self, f"features_{view}") for view in self.views}

    def own_rows(self, video_id: Tensor) -> Tensor:
        """Rows of each query's own video.

        Args:
            video_id: (B,) int, >= 0.

        Returns:
            (B, K) bool.
        """
        return video_id.to(self.video_id)[:, None] == self.video_id[None, :]

    def siblings(self, source_id: Tensor) -> Tensor:
        """Rows cut from the same recording as each query.

        Args:
            source_id: (B,) int, >= 0.

        Returns:
            (B, K) bool.
        """
        return source_id.to(self.source_id)[:, None] == self.source_id[None, :]


class FeatureQueue(_Rows):
    """First-in-first-out memory of several views that share one index: row j of every view is the same clip.

    Args:
        size: K, number of rows.
        dim: D, length of a feature.
        views: names of the views, e.g. ``("rgb", "flow")``.

    Attributes:
        video_id, source_id, label: (K,) int64 of each row, -1 for empty rows.
    """

    def __init__(self, size: int, dim: int, views: Sequence[str]):
        super().__init__()
        if size < 1 or dim < 1 or not views:
            raise ValueError(f"a queue needs rows, a dimension and views, got size={size}, dim={dim}, views={views}")
        self.size, self.dim, self.views = size, dim, tuple(views)
        for view in self.views:
            self.register_buffer(f"features_{view}", torch.zeros(size, dim))
        for name in IDS:
            self.register_buffer(name, torch.full((size,), -1))
        self.register_buffer("enqueued", torch.tensor(0))  # rows ever written
        self._count: int | None = 0  # the same, without waiting for a GPU; None: not known yet

    @property
    def filled(self) -> Tensor:
        """(K,) bool, True for the rows that hold a clip."""
        return torch.arange(self.size, device=self.enqueued.device) < self.enqueued

    @property
    def count(self) -> int:
        """Rows ever written."""
        if self._count is None:
            self._count = int(self.enqueued)
        return self._count

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._count = None

    @property
    def is_full(self) -> bool:
        """Whether every row holds a clip."""
        return self.count >= self.size

    @torch.no_grad()
    def enqueue(self, features: Mapping[str, Tensor], video_id: Tensor, source_id: Tensor, label: Tensor) -> None:
        """Replace the oldest rows by a batch, of any size, even larger than the queue.

        Args:
            features: view -> (B, D) float, L2-normalised, for every view of the queue.
            video_id: (B,) int, row of the manifest.
            source_id: (B,) int, recording that the video was cut from.
            label: (B,) int, class; kept for measuring, never seen by a miner.

        Raises:
            ValueError: views or shapes do not fit the queue.
        """
        if set(features) != set(self.views):
            raise ValueError(f"features has the views {sorted(features)}; the queue has {sorted(self.views)}")
        batch = len(video_id)
        for view, rows in features.items():
            if rows.shape != (batch, self.dim):
                raise ValueError(f"{view} features have shape {tuple(rows.shape)}; expected ({batch}, {self.dim})")
        kept = slice(max(0, batch - self.size), batch)  # of a batch larger than the queue only the end stays
        rows = (self.count + torch.arange(batch, device=self.enqueued.device)[kept]) % self.size
        for view in self.views:
            self.features[view][rows] = features[view][kept].to(self.features[view].dtype)
        for name, values in zip(IDS, (video_id, source_id, label), strict=True):
            getattr(self, name)[rows] = values[kept].to(rows)
        self._count = self.count + batch
        self.enqueued += batch


class InstanceBank(_Rows):
    """One row per training video, in several views: a moving mean of the video's features (IIC).

    Rows start as random unit vectors, so that the first updates do not draw all videos to one point.

    Args:
        ids: "video_id", "source_id" and "label" -> (N,) int of the training videos; a video has one row.
        dim: D, length of a feature.
        views: names of the views, e.g. ``("residual", "rgb")``.
        generator: CPU generator of the initial rows.

    Attributes:
        video_id, source_id, label: (N,) int64 of each row.
        filled: (N,) bool, True for the rows that hold features.
    """

    def __init__(self, ids: Mapping[str, Tensor], dim: int, views: Sequence[str], generator: torch.Generator):
        super().__init__()
        self.size, self.dim, self.views = len(ids["video_id"]), dim, tuple(views)
        for view in self.views:
            random = torch.randn(self.size, dim, generator=generator)
            self.register_buffer(f"features_{view}", normalize(random, dim=1))
        for name in IDS:
            self.register_buffer(name, ids[name].long())
        self.register_buffer("filled", torch.zeros(self.size, dtype=torch.bool))

    def rows_of(self, video_id: Tensor) -> Tensor:
        """The row of each video: (B,) int of videos in the bank -> (B,) int64."""
        return self.own_rows(video_id).int().argmax(dim=1)

    @torch.no_grad()
    def update(self, features: Mapping[str, Tensor], rows: Tensor, momentum: float) -> None:
        """Move rows towards new features: ``row = normalize(momentum * row + (1 - momentum) * feature)``.

        Args:
            features: view -> (B, D) float, L2-normalised.
            rows: (B,) int64, each row once.
            momentum: in [0, 1].
        """
        for view, new in features.items():
            bank = self.features[view]
            bank[rows] = normalize(bank[rows].lerp(new.to(bank.dtype), 1 - momentum), dim=1)
        self.filled.index_fill_(0, rows, True)
