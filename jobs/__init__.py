"""Command line, submission and schedules: the one place that reads argv, environment and cluster addresses."""
