from __future__ import annotations

import pickle  # noqa: TID251 - Ray carries exceptions between processes by pickle

import pytest
from unlabeled.pipeline import errors
from unlabeled.pipeline.errors import Filtered, Reject, RejectReason, Stage, UnlabeledError, nearest


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.UnlabeledError, 1),
        (errors.StoreError, 1),
        (errors.CorruptData, 1),
        (errors.ConfigError, 2),
        (errors.TooManyRejects, 3),
        (errors.Conflict, 4),
        (errors.CheckFailed, 5),
        (errors.Interrupted, 75),
    ],
)
def test_every_way_to_end_has_its_exit_code(error: type[UnlabeledError], exit_code: int) -> None:
    assert error.exit_code == exit_code
    assert issubclass(error, UnlabeledError)


@pytest.mark.parametrize("name", ["NotFound", "AlreadyExists", "PermissionDenied", "Changed"])
def test_what_a_store_says_is_a_store_error(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.StoreError)


@pytest.mark.parametrize("fate", [Reject, Filtered])
def test_the_fate_of_one_source_never_ends_a_command(fate: type[Exception]) -> None:
    assert not issubclass(fate, UnlabeledError)


@pytest.mark.parametrize("reason", list(RejectReason))
def test_only_clocks_memory_crashes_and_the_store_are_worth_another_try(reason: RejectReason) -> None:
    transient = {"missing", "changed", "decoder_crash", "decoder_hang", "decoder_memory", "worker_death"}
    assert Reject(reason, "").is_permanent == (reason not in transient)


def test_a_reject_survives_the_way_to_another_process() -> None:
    sent = Reject(RejectReason.TRUNCATED, "ends at byte 7", stage=Stage.READ, offset_bytes=7)
    came = pickle.loads(pickle.dumps(sent))
    assert (came.reason, came.message, came.stage, came.offset_bytes) == ("truncated", "ends at byte 7", "read", 7)
    assert str(came) == "ends at byte 7"


def test_a_verdict_filtered_survives_the_way_to_another_process() -> None:
    came = pickle.loads(pickle.dumps(Filtered("too_short", "3 s < 5 s")))
    assert (came.reason, came.message) == ("too_short", "3 s < 5 s")


def test_messages_are_kept_short() -> None:
    assert len(Reject(RejectReason.CORRUPT, "x" * 9000).message) == 500
    assert len(Filtered("too_short", "x" * 9000).message) == 500


def test_an_unknown_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="because"):
        Reject("because", "")  # type: ignore[arg-type]


def test_the_nearest_name_is_offered() -> None:
    assert nearest("image_rotatoin", ["image_rotation", "image_jigsaw"]) == " Did you mean 'image_rotation'?"


def test_no_name_is_offered_where_none_is_near() -> None:
    assert nearest("zzz", ["image_rotation"]) == ""
