"""Families of cheap cues: what an example betrays without anybody looking at what it shows."""
