"""Can low-level cues predict the label? Probes, scores and verdicts."""
