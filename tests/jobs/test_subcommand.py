from __future__ import annotations

import json

from unlabeled.jobs.subcommand import run_subcommand


def test_what_a_command_prints_and_how_it_ends_comes_back() -> None:
    ended = run_subcommand(["tasks", "-t", "image_rotation", "--json"])
    assert (ended.exit_code, ended.is_late) == (0, False)
    assert json.loads(ended.stdout)["tasks"][0]["name"] == "image_rotation"
    assert run_subcommand(["tasks", "-t", "nothing"]).exit_code == 2


def test_what_takes_too_long_is_stopped() -> None:
    assert run_subcommand(["tasks"], seconds=0.01).is_late
