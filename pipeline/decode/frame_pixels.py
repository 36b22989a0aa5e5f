"""A decoded video frame to upright sRGB pixels, bit for bit the same on every run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

#: Exact and slower paths of swscale; without them the result depends on the CPU's vector instructions.
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
#: FFmpeg's AVCOL_SPC numbers for "not stated".
_UNSPECIFIED_MATRICES = (2, 3)
_HD_HEIGHT_PX = 720

#: swap axes, flip rows, flip columns: applied in this order to rows x columns.
Turn = tuple[bool, bool, bool]


def upright_turn(frame: VideoFrame) -> Turn:
    """Return how the frame is to be turned for presentation, from its display matrix.

    The matrix maps a pixel (x, y) to (a x + c y, b x + d y). Quarter turns and reflections are exact; an odd angle
    counts as the nearest quarter turn.
    """
    side_data: Mapping[Any, Any] = frame.side_data  # PyAV's stub has a TypedDict; it is a mapping by type
    matrix = side_data.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return (False, False, False)
    a, b, _, c, d = np.frombuffer(bytes(matrix), "=i4")[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (False, d < 0, a < 0)
    return (True, b < 0, c < 0)


def turned(pixels: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Return a view of `pixels` [height, width, 3] turned upright."""
    swaps, flips_rows, flips_columns = turn
    view = pixels.transpose(1, 0, 2) if swaps else pixels
    return view[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1]


class ToRgb:
    """Converts frames to RGB of one size.

    Matrix and range are those that the stream states; where it states none, BT.709 from 720 lines on and BT.601
    below, limited range: what players assume. High dynamic range is not tone-mapped.

    Args:
        width_px, height_px: size of the first frame as it is stored; frames of another size are scaled to it.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = (width_px, height_px)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return uint8 [height, width, 3]; raises av.FFmpegError where swscale cannot convert the pixel format."""
        matrix = None
        if frame.colorspace in _UNSPECIFIED_MATRICES:
            matrix = Colorspace.ITU709 if self._size[1] >= _HD_HEIGHT_PX else Colorspace.ITU601
        converted = self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="rgb24",
            src_colorspace=matrix,
            interpolation=_EXACT,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        return np.asarray(converted.to_ndarray(), np.uint8)
