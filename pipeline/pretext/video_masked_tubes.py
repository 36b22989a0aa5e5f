"""Reconstruct the hidden tubes of a clip.

Tong et al.: VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training, NeurIPS
2022 (arXiv:2203.12602): 16 frames, tubelets of 2 frames x 16 x 16 px, 90 % hidden.

Shortcuts closed here: the same places are hidden in all frames, so that nothing is copied from a neighbouring frame;
static windows and doubled frames, where a visible place would tell a hidden one, are not used; black bars, which are
free to reconstruct, are cropped away. The stored mask is that of epoch 0: a trainer redraws it for every epoch with
`transforms.mask_generator(mask_seed, epoch)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import frames, windows
from ..errors import ConfigError
from ..features import Features, image, value
from ..footage import ClipPlan, clip_plan, shot_features, shot_values
from ..items import ClipRequest, Video, VideoInfo
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting
from ..transforms import mask_generator, pack_mask, random_mask


@dataclass(frozen=True)
class VideoMaskedTubes(PretextTask[Video]):
    """Reconstruct the hidden tubes of a clip (VideoMAE)."""

    version = "1"
    modality = Modality.VIDEO
    objective = Objective.MASKED_PREDICTION
    paper = (
        "Tong et al.: VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video "
        "Pre-Training, NeurIPS 2022 (arXiv:2203.12602)"
    )

    side_px: int = setting(224, "side of the stored frames", unit="px", at_least=64, at_most=512, multiple_of=16)
    num_frames: int = setting(16, "frames of a clip", at_least=2, at_most=64)
    interval_us: int = setting(
        133_333, "time between frames, to the nearest whole frame (4 frames at 30 Hz)", unit="us", at_least=1000
    )
    tubelet_frames: int = setting(2, "frames of a tubelet", at_least=1, at_most=16)
    patch_px: int = setting(16, "side of a tubelet", unit="px", at_least=4, at_most=64)
    mask_ratio: float = setting(0.9, "share of the places that is hidden", at_least=0.05, at_most=0.99)
    max_windows: int = setting(6, "most examples of one source, spread over its whole duration", at_least=1)
    num_spares: int = setting(2, "windows decoded beside them, in case some are static or cut", at_least=0)
    min_motion: float = setting(0.5, "least motion_score of a window", unit="levels of 255", at_least=0)
    crop_fraction: float = setting(
        0.7, "share of the short side that is stored, where the source is large enough", at_least=0.1, at_most=1
    )

    def __post_init__(self) -> None:
        """Check bounds, that tubelets fill the clip, and that the clips of one source fit into memory."""
        super().__post_init__()
        if self.side_px % self.patch_px:
            raise ConfigError(f"`patch_px` must divide `side_px` = {self.side_px}, but is {self.patch_px}.")
        if self.num_frames % self.tubelet_frames:
            raise ConfigError(
                f"`tubelet_frames` must divide `num_frames` = {self.num_frames}, but is {self.tubelet_frames}."
            )
        _ = self._plan

    @property
    def _plan(self) -> ClipPlan:
        return clip_plan(self, range(self.num_frames))

    def features(self) -> Features:
        """Return the clip, the mask of its places, and where it was taken."""
        return Features.of(
            frames=image("the whole clip, in the order of time", shape=(self.num_frames,)),
            tubelet=value("int16", "parameter", "frames, rows and columns of a tubelet: frames, px, px", shape=(3,)),
            grid_h=value("int16", "parameter", "places in a column"),
            grid_w=value("int16", "parameter", "places in a row"),
            mask_bits=value(
                "binary", "parameter", "hidden places, the same in all frames; row-major, LSB first, 1 = hidden"
            ),
            mask_seed=value("int64", "parameter", "redraws the mask: transforms.mask_generator(mask_seed, epoch)"),
            mask_ratio=value("float32", "parameter", "share of the places that is hidden, as set"),
            num_masked=value("int32", "parameter", "hidden places of the grid"),
            pts_us=value("int64", "parameter", "presentation times", shape=(self.num_frames,), unit="us"),
            **shot_features(),
        )

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return one clip a window, spares included, in keyed order."""
        return self._plan.requests(info, rng)

    def examples(self, item: Video, rng: ItemRng) -> Iterator[Example]:
        """Yield one clip and mask of each good window, in keyed order."""
        for draw, shot in enumerate(self._plan.good_shots(item)):
            mask_seed = int(rng.draw(draw).integers(2**63))
            mask = self.mask(mask_seed)
            yield Example(
                draw,
                {
                    "frames": list(shot.pixels),
                    "tubelet": [self.tubelet_frames, self.patch_px, self.patch_px],
                    "grid_h": mask.shape[0],
                    "grid_w": mask.shape[1],
                    "mask_bits": pack_mask(mask),
                    "mask_seed": mask_seed,
                    "mask_ratio": self.mask_ratio,
                    "num_masked": int(mask.sum()),
                    "pts_us": shot.clip.pts_us.tolist(),
                    **shot_values(shot, item.info),
                },
            )

    def mask(self, mask_seed: int, epoch: int = 0) -> NDArray[np.bool_]:
        """Return the hidden places of one example in one epoch: bool [rows, columns], True = hidden in all frames."""
        places = self.side_px // self.patch_px
        return random_mask(mask_generator(mask_seed, epoch), (places, places), round(self.mask_ratio * places**2))

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return the JPEGs of all frames of a window."""
        num = self._plan.estimate_windows(source_num_bytes)
        return num * (900 + self.num_frames * windows.estimate_still_bytes(self.side_px))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return the mask redrawn from its seed, and the hidden places counted in the stored bits.

        No bits where a frame is not what the source shows at its time.
        """
        counted = sum(bin(byte).count("1") for byte in row["mask_bits"])
        if not frames.fits(row["frames"], frames.shown_at(item.clips, row["pts_us"], self.side_px)):
            return {"mask_bits": b"", "num_masked": counted}
        return {"mask_bits": pack_mask(self.mask(row["mask_seed"])), "num_masked": counted}
