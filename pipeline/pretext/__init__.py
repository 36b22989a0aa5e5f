"""Pretext tasks, one file each; the file's name is the task's name. Found by listing this folder."""
