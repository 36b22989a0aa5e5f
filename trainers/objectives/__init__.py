"""Objectives: head and loss of each objective that a manifest can name."""
