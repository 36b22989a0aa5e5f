"""Whether cheap cues tell the label: families of features, grouped probes, verdicts, one page."""
