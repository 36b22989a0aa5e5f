"""What decoding yields and tasks take: Image, Video (asked-for clips), Waveform, Document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .resample import Box, crop_resize


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is known of the decoded bytes besides their content; goes to the lineage columns."""

    media_kind: str
    codec: str
    exif_orientation: int = 0
    is_truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(Source):
    """One picture. `pixels`: uint8 [height, width, 3], sRGB, EXIF orientation applied, read-only."""

    pixels: NDArray[np.uint8]

    @property
    def height_px(self) -> int:
        """Height of the upright picture."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Width of the upright picture."""
        return int(self.pixels.shape[1])

    def crop(self, box: Box, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Return the box of the picture, resized bicubically: uint8 [height_px, width_px, 3].

        Prefer it to slicing `pixels`: where the picture is decoded behind a fence, only the crop crosses it.
        """
        return crop_resize(self.pixels, box, width_px, height_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo(Source):
    """What is known of a video (or of one part of it) before frames are decoded.

    Times are microseconds from the first presented frame. `end_us` is the presentation time of the last frame;
    a part of a cut video covers [start_us, end_us].
    """

    width_px: int
    height_px: int
    start_us: int
    end_us: int
    fps_num: int
    fps_den: int
    time_base_num: int
    time_base_den: int
    num_frames: int
    is_indexed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRequest:
    """Frames that a task wants: for each target, the frame presented at it (the last whose PTS is <= target).

    Args:
        targets_us: ascending presentation times, microseconds from the first presented frame.
        crop_box: square or not, in px of the upright (rotation applied) frame.
        width_px, height_px: every frame's crop is resized (bicubic, isotropic) to this.
    """

    targets_us: tuple[int, ...]
    crop_box: Box
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The frames that answer a ClipRequest, one a target.

    frames: uint8 [num_targets, height, width, 3], sRGB. pts_us: int64 [num_targets], microseconds from the first
    presented frame. pict_types: int8 [num_targets], FFmpeg's numbers (1 = I, 2 = P, 3 = B).
    """

    request: ClipRequest
    frames: NDArray[np.uint8]
    pts_us: NDArray[np.int64]
    pict_types: NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Video(Source):
    """A video as a task sees it: its facts and the clips that the task asked for, in the order it asked."""

    info: VideoInfo
    clips: Sequence[Clip]
    audio: Waveform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform(Source):
    """Mono sound. `samples`: int16 [num_samples] at `sample_rate_hz`, read-only; may be mapped from disk.

    The length is what was decoded, never what a header declared. `source_sample_rate_hz` and `num_channels` are
    those of the source.
    """

    samples: NDArray[np.int16]
    sample_rate_hz: int
    source_sample_rate_hz: int
    num_channels: int
    start_us: int = 0

    @property
    def duration_seconds(self) -> float:
        """Duration of the decoded samples."""
        return len(self.samples) / self.sample_rate_hz

    def clip(self, start: int, num_samples: int) -> NDArray[np.float32]:
        """Return samples [start, start + num_samples) as float32 in [-1, 1).

        Raises IndexError where the range leaves the recording.
        """
        if start < 0 or start + num_samples > len(self.samples):
            raise IndexError(f"clip [{start}, {start + num_samples}) leaves [0, {len(self.samples)})")
        return self.samples[start : start + num_samples].astype(np.float32) / np.float32(32768.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Source):
    """Text. `text`: the document as it stands, lines end in a line feed; `start_byte`: where it begins."""

    text: str
    start_byte: int = 0
