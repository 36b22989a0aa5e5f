from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline import discover
from unlabeled.pipeline.encode import encode_flac
from unlabeled.pipeline.features import Features, audio, value, with_envelope
from unlabeled.pipeline.preview.cells import Cells, mask_of, spectrogram_mask
from unlabeled.pipeline.preview.odd import Pick
from unlabeled.pipeline.tokenizer import Tokenizer
from unlabeled.pipeline.transforms import pack_mask

from tests.pipeline.preview.shown import Read, build, features_of, read, row

SCRIPT = "<script>alert(1)</script>"


def card(name: str, *reasons: str, **envelope: Any) -> Read:
    task = build(name)
    tokenizer = getattr(task, "tokenizer", None)
    cells = Cells(features_of(task), tokenizer)
    return read(cells.card(Pick(row(task, **envelope), reasons)))


@pytest.mark.parametrize("name", discover.task_names())
def test_every_task_has_something_to_look_at_with_words_for_it(name: str) -> None:
    shown = card(name)
    pictures = shown.all("img")
    assert pictures or any(text.get("class") == "text" for text in shown.all("p"))
    assert all(picture["src"].startswith("data:image/") and picture["alt"] for picture in pictures)


def test_a_key_is_text_wherever_it_stands() -> None:
    shown = card("image_rotation", source_key=SCRIPT)
    assert not shown.all("script")
    assert SCRIPT in shown.texts
    assert SCRIPT in shown.all("img")[0]["alt"]


def test_the_reasons_stand_beside_the_label() -> None:
    shown = card("image_rotation", "smallest: 3 B")
    assert "smallest: 3 B" in shown.texts
    assert shown.all("article")[0]["class"] == "odd"


def test_a_masked_picture_stands_beside_the_whole_one() -> None:
    hidden, whole = card("image_masked_patches").all("img")
    assert "hatched" in hidden["alt"]
    assert hidden["src"] != whole["src"]


def test_tiles_are_shown_in_their_order_and_put_in_place() -> None:
    task = build("image_jigsaw")
    stored = row(task)
    shown = read(Cells(features_of(task)).card(Pick(stored, ())))
    cells = [text for text in shown.texts if text.startswith("cell ")]
    assert cells == [f"cell {cell + 1}" for cell in stored["permutation"]]
    assert "put in place" in shown.texts
    assert len(shown.all("img")) == 10


def test_frames_bear_their_times() -> None:
    task = build("video_arrow_of_time")
    stored = row(task)
    shown = read(Cells(features_of(task)).card(Pick(stored, ())))
    assert [text for text in shown.texts if text.endswith(" s")] == [f"{at / 1e6:.3f} s" for at in stored["pts_us"]]


def test_each_clip_is_a_strip() -> None:
    shown = card("video_clip_order")
    assert sum(part.get("class") == "media strip" for part in shown.all("div")) == 3


def test_a_sound_has_waveform_spectrogram_and_player() -> None:
    shown = card("audio_clip_adjacency")
    assert len(shown.all("audio")) == len(shown.all("img")) == 2
    assert all(player["src"].startswith("data:audio/flac;base64,") for player in shown.all("audio"))


def test_a_masked_spectrogram_is_shown_with_and_without_what_is_hidden() -> None:
    as_seen, whole = card("audio_masked_spectrogram").all("img")
    assert as_seen["alt"].endswith("as seen")
    assert as_seen["src"] != whole["src"]


def test_sounds_beyond_the_budget_are_shown_but_not_embedded() -> None:
    task = build("audio_clip_adjacency")
    shown = read(Cells(features_of(task), audio_budget_bytes=10).card(Pick(row(task), ())))
    assert not shown.all("audio")
    assert len(shown.all("img")) == 2


def test_tokens_without_a_tokenizer_are_numbers() -> None:
    task = build("text_sentence_order")
    stored = row(task)
    shown = read(Cells(features_of(task)).card(Pick(stored, ())))
    assert str(stored["input_ids"][1]) in shown.text


def test_tokens_with_a_broken_tokenizer_are_numbers_and_a_note() -> None:
    task = build("text_sentence_order")
    cells = Cells(features_of(task), Tokenizer(b"{}"))
    read(cells.card(Pick(row(task), ())))
    assert cells.notes[0].startswith("Tokens are shown as numbers")


def test_a_users_own_columns_are_shown_by_their_kind() -> None:
    features = with_envelope(
        Features.of(
            sounds=audio("several", sample_rate_hz=8000, shape=(None,)), words=value("string", "input", "a sentence")
        )
    )
    sound = {"bytes": encode_flac(np.zeros(800, np.float32), 8000), "path": None}
    stored = {
        **dict.fromkeys(features.names),
        "sounds": [sound, sound],
        "words": "<b>hello</b>",
        "source_key": "a",
        "split": "val",
    }
    shown = read(Cells(features).card(Pick(stored, ())))
    assert len(shown.all("audio")) == 2
    assert "<b>hello</b>" in shown.texts
    assert "val example" in shown.texts


def test_a_mask_is_read_in_its_grid_or_pixel_by_pixel() -> None:
    mask = np.random.default_rng(0).random((4, 6)) < 0.5
    bits = pack_mask(mask)
    of_grid = mask_of({"mask_bits": bits, "grid_h": 4, "grid_w": 6}, (60, 40))
    of_pixels = mask_of({"mask": bits}, (6, 4))
    assert of_grid is not None
    assert of_pixels is not None
    assert np.array_equal(of_grid, mask)
    assert np.array_equal(of_pixels, mask)


def test_bits_that_fit_no_grid_are_no_mask() -> None:
    assert mask_of({"mask": b"12345"}, (6, 4)) is None
    assert mask_of({}, (6, 4)) is None


def test_the_mask_of_a_spectrogram_is_as_large_as_its_patches() -> None:
    mask = np.array([[True, False], [False, True]])
    stored = {"mask_bits": pack_mask(mask), "grid_t": 2, "grid_f": 2, "patch_t": 3, "patch_f": 4}
    found = spectrogram_mask(stored)
    assert found is not None
    assert found.shape == (6, 8)
    assert found[:3, :4].all()
    assert not found[3:, :4].any()
