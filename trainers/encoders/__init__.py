"""Encoders by name and size, built from transformers configs; nothing is downloaded."""
