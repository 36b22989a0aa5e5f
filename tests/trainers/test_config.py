from __future__ import annotations

import pytest
from unlabeled.pipeline.config import parse
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.config import PretrainSettings


def test_an_unknown_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rates.*Did you mean `optimizer\.learning_rate`"):
        parse(PretrainSettings, {"optimizer": {"learning_rates": 1}})


def test_a_mistyped_setting_names_field_found_and_expected() -> None:
    with pytest.raises(ConfigError, match=r"`num_epochs`: found -1, expected: .* greater than 0"):
        parse(PretrainSettings, {"num_epochs": -1})
