"""What near-duplicates are found by: a few hundred bytes a source, one file a medium; pure functions."""
