"""Bytes to items, one file a family of media; untrusted bytes are decoded behind a fence."""
