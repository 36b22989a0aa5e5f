"""Tasks without a label: how much a predictor that has learnt nothing gets right, and what share of them it solves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encode import decode_flac, decode_still
from ..features import Features
from ..sound import log_mel
from ..task import Objective
from ..transforms import rgb_to_lab, unpack_mask

#: An example is solved where less than this share of what was hidden stays unexplained, or where hardly anything is
#: there to explain: a deviation of less than `FLAT_LEVELS` of 255 (or of 100 in Lab).
SOLVED_BELOW = 0.1
FLAT_LEVELS = 2.0
Floats = NDArray[np.float64]
#: Of one predictor on one example: squared error, spread around the visible mean, and whether it is solved.
Judged = dict[str, tuple[float, float, float]]


def measure_trivial(features: Features, objective: str, row: Mapping[str, Any]) -> Judged:
    """Return what each trivial predictor that fits the row's columns makes of it; nothing where none fits."""
    names = set(features.names)
    for wanted, columns, judge in _JUDGES:
        if objective == wanted and columns <= names:
            return judge(row)
    return {}


def _masked_pixels(row: Mapping[str, Any]) -> Judged:
    pixels = _grey(row["image"])
    return _hidden(pixels, unpack_mask(row["mask"], pixels.shape))


def _masked_patches(row: Mapping[str, Any]) -> Judged:
    """Judge one picture, or four frames of a clip."""
    cells = row["frames"][:: max(1, len(row["frames"]) // 4)] if "frames" in row else [row["image"]]
    pixels = np.stack([_grey(cell) for cell in cells])
    mask = unpack_mask(row["mask_bits"], (row["grid_h"], row["grid_w"]))
    grown = np.kron(mask, np.ones((pixels.shape[1] // mask.shape[0], pixels.shape[2] // mask.shape[1]), bool))
    return _joined([_hidden(one, grown) for one in pixels])


def _grey(cell: Mapping[str, Any]) -> Floats:
    grey: Floats = np.asarray(decode_still(cell["bytes"]), np.float64).mean(axis=2)
    return grey


def _judged(target: Floats, predicted: Floats, mean: Any) -> tuple[float, float, float]:
    error, spread = float(np.square(target - predicted).sum()), float(np.square(target - mean).sum())
    is_flat = error <= target.size * FLAT_LEVELS**2
    return error, spread, float(is_flat or error <= SOLVED_BELOW * spread)


def _joined(parts: list[Judged]) -> Judged:
    """Return several pictures' figures as one example's: errors summed, solved where all are."""
    return {
        name: (
            sum(part[name][0] for part in parts),
            sum(part[name][1] for part in parts),
            min(part[name][2] for part in parts),
        )
        for name in parts[0]
    }


def _hidden(plane: Floats, mask: NDArray[np.bool_]) -> Judged:
    """Judge the mean of what is visible, and the nearest visible value extended, on a plane; mask True = hidden."""
    mean = plane[~mask].mean() if not mask.all() else plane.mean()
    target = plane[mask]
    return {
        "mean": _judged(target, np.full_like(target, mean), mean),
        "border": _judged(target, extended(plane, mask)[mask], mean),
    }


def extended(plane: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Return a plane whose hidden places are the mean of the nearest visible ones in 4 directions, near ones more."""
    total, weights = np.zeros_like(plane), np.zeros_like(plane)
    for turns in range(4):
        values, hidden = np.rot90(plane, turns), np.rot90(mask, turns)
        columns = np.arange(values.shape[1])
        last = np.maximum.accumulate(np.where(hidden, -1, columns), axis=1)
        distance = np.where(last >= 0, columns - last, 10**6)
        found = np.take_along_axis(values, np.maximum(last, 0), axis=1)
        weight = 1.0 / np.maximum(distance, 1)
        total += np.rot90(found * weight, -turns)
        weights += np.rot90(weight, -turns)
    filled: Floats = np.where(mask, total / weights, plane)
    return filled


def _future(row: Mapping[str, Any]) -> Judged:
    """Judge the last frame seen, kept, and the mean of those seen, against the frames that follow."""
    context = np.stack([_grey(cell) for cell in row["context_frames"]])
    target = np.stack([_grey(cell) for cell in row["target_frames"]])
    mean = context.mean(axis=0)
    ahead = np.broadcast_to(context[-1], target.shape)
    flat = context.mean()
    return {
        "mean": _judged(target, np.broadcast_to(mean, target.shape), flat),
        "copy_last": _judged(target, ahead, flat),
    }


def _spectrogram(row: Mapping[str, Any]) -> Judged:
    """Judge each mel bin's visible mean, and the nearest visible patch, on the log-mel spectrogram."""
    rate = row["sample_rate_hz"]
    mel = np.asarray(
        log_mel(
            decode_flac(row["audio"]["bytes"]),
            rate,
            num_mels=row["n_mels"],
            window_ms=row["win_ms"],
            hop_ms=row["hop_ms"],
        ),
        np.float64,
    )
    mask = unpack_mask(row["mask_bits"], (row["grid_t"], row["grid_f"]))
    grown = np.kron(mask, np.ones((row["patch_t"], row["patch_f"]), bool))[: len(mel), : mel.shape[1]]
    mel = mel[: len(grown)]
    # In units in which FLAT_LEVELS is small: decibels.
    return _hidden(mel * 10 / np.log(10), grown)


def _colour(row: Mapping[str, Any]) -> Judged:
    """Judge grey, and the picture's own mean colour, on its a and b."""
    ab = np.asarray(rgb_to_lab(decode_still(row["image"]["bytes"]))[..., 1:], np.float64)
    return {"grey": _judged(ab, np.zeros_like(ab), 0.0), "mean": _judged(ab, ab.mean(axis=(0, 1)) + 0 * ab, 0.0)}


def _tokens(row: Mapping[str, Any]) -> Judged:
    """Judge copying the token before or after, as shares of wrong tokens; solved where all are right."""
    ids, labels = np.asarray(row["input_ids"]), np.asarray(row["labels"])
    places = np.flatnonzero(labels != -100)
    told: Judged = {}
    for name, step in (("copy_before", -1), ("copy_after", 1)):
        wrong = ids[np.clip(places + step, 0, len(ids) - 1)] != labels[places]
        told[name] = (float(wrong.sum()), float(len(places)), float(not wrong.any()))
    return told


#: Objective, the columns that a row must have, and what judges it; the first that fits.
_JUDGES: tuple[tuple[Objective, set[str], Callable[[Mapping[str, Any]], Judged]], ...] = (
    (Objective.FRAME_PREDICTION, {"context_frames", "target_frames"}, _future),
    (Objective.TOKEN_PREDICTION, {"input_ids", "labels"}, _tokens),
    (Objective.MASKED_PREDICTION, {"audio", "mask_bits", "grid_t", "n_mels"}, _spectrogram),
    (Objective.MASKED_PREDICTION, {"image", "mask"}, _masked_pixels),
    (Objective.MASKED_PREDICTION, {"image", "mask_bits", "grid_h"}, _masked_patches),
    (Objective.MASKED_PREDICTION, {"frames", "mask_bits", "grid_h"}, _masked_patches),
    (Objective.MASKED_PREDICTION, {"image", "bins_sha256"}, _colour),
)
