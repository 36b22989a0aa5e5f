"""Limits that decide content, and what decoding does where there is a choice.

Everything here is deterministic: the same bytes get the same verdict on any machine, busy or idle. Clocks and
memory belong to the fence and only break what hangs or explodes; their verdicts are transient.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Upper bounds of one source; beyond any of them the source is rejected.

    They are enforced on what headers declare before anything is decoded, and again while decoding, because headers
    lie: frames and samples are counted, reads go on until nothing comes back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_source_bytes: int = Field(16 << 30, ge=1, description="bytes of a source that is read in ranges")
    max_image_bytes: int = Field(
        64 << 20, ge=1, description="bytes of an image, which is held in memory at once; limit_bytes"
    )
    max_pixels: int = Field(
        50_000_000, ge=1, description="width x height of an image or of a video frame; limit_pixels"
    )
    max_side_px: int = Field(65_535, ge=1, description="longer side of an image or of a video frame; limit_pixels")
    max_frames: int = Field(2_000_000, ge=1, description="frames decoded of one source; limit_frames")
    max_seconds: float = Field(86_400.0, gt=0, description="seconds of sound or video of one source; limit_seconds")
    max_samples: int = Field(
        4_294_967_296, ge=1, description="samples per channel, at the source's rate, of one source; limit_samples"
    )
    max_channels: int = Field(64, ge=1, description="channels of a sound; limit_channels")
    max_rate_hz: int = Field(768_000, ge=1, description="sample rate of a sound; limit_rate")
    max_output_bytes: int = Field(
        4 << 30, ge=1, description="decoded bytes that one source may hand on (crops, frames, PCM, text); limit_output"
    )


class DecodeOptions(BaseModel):
    """Choices that change what is decoded; they are part of a dataset's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    truncated: Literal["reject", "decode"] = Field(
        "reject", description="media that end early: reject them, or decode as far as they go and mark the rows"
    )
    intensity: Literal["shift", "minmax"] = Field(
        "shift",
        description="16-bit grey images to 8 bit: keep the high byte (value >> 8), or stretch from the picture's "
        "smallest to its largest value; 32-bit and float images have no fixed range and are always stretched",
    )
    text_layout: Literal["auto", "whole", "paragraphs", "lines", "jsonl"] = Field(
        "auto",
        description="how documents stand in a text: the whole source, paragraphs between blank lines, one a line, or "
        "one JSON object a line; auto: jsonl where the key ends in .jsonl or .ndjson, else whole",
    )
    text_field: str = Field("text", min_length=1, description="field of the JSON objects that holds the text")
    audio_rate_hz: int = Field(16_000, ge=1_000, le=192_000, description="rate that every sound is resampled to")
