from __future__ import annotations

import io

import numpy as np
from PIL import Image
from unlabeled.pipeline.audit.families.stored import container, geometry, quantisation
from unlabeled.pipeline.audit.seen import Seen, Still

from tests import samples
from tests.pipeline.audit.families.drawn import pictures, sounds

PHOTOGRAPH = samples.photograph(0, 64, 48)


def _jpeg(quality: int, **options: object) -> Seen:
    file = io.BytesIO()
    Image.fromarray(PHOTOGRAPH).save(file, "JPEG", quality=quality, **options)
    return Seen(stills=(Still(file.getvalue()),))


def test_another_quality_has_other_tables_and_lossless_has_none() -> None:
    assert not np.array_equal(quantisation(_jpeg(60)), quantisation(_jpeg(95)))
    assert quantisation(pictures(PHOTOGRAPH)).any() == np.False_


def test_subsampling_and_comments_show_in_the_container() -> None:
    plain = container(_jpeg(90))
    assert container(_jpeg(90, subsampling=2))[6] != container(_jpeg(90, subsampling=0))[6]
    assert container(_jpeg(90, comment=b"x" * 50))[4] > plain[4]


def test_bytes_and_samples_are_counted() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 1000)
    assert geometry(sounds(sound)).tolist() == [1000, 0, 1]
    assert geometry(pictures(PHOTOGRAPH))[:2].tolist() == [64, 48]
    assert 0.5 < container(sounds(sound))[1] < 4
