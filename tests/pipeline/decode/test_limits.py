"""Settings of decoding: immutable, and unknown or absurd ones refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits


@pytest.mark.parametrize("model", [Limits, DecodeOptions])
def test_unknown_fields_are_refused(model: type[Limits | DecodeOptions]) -> None:
    with pytest.raises(ValidationError, match=r"max_pixel\b"):
        model.model_validate({"max_pixel": 3})


@pytest.mark.parametrize("name", sorted(Limits.model_fields))
def test_every_limit_is_positive_and_described(name: str) -> None:
    assert Limits.model_fields[name].description
    with pytest.raises(ValidationError):
        Limits.model_validate({name: 0})


def test_limits_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Limits().max_pixels = 3  # type: ignore[misc]


def test_json_and_back_is_the_same() -> None:
    limits, options = Limits(max_pixels=7), DecodeOptions(truncated="decode")
    assert Limits.model_validate_json(limits.model_dump_json()) == limits
    assert DecodeOptions.model_validate_json(options.model_dump_json()) == options
