from __future__ import annotations

from unlabeled.pipeline.audit.catalogue import COLUMN_FAMILIES, FAMILIES


def test_names_are_told_apart_and_say_what_they_look_at() -> None:
    names = [family.name for family in FAMILIES] + list(COLUMN_FAMILIES)
    assert len(set(names)) == len(names) == 18
    assert all(family.about for family in FAMILIES)


def test_only_the_layout_is_legitimate() -> None:
    assert [family.name for family in FAMILIES if family.is_semantic] == ["layout"]
