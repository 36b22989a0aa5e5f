"""Shards to checkpoints. Sees of the pipeline only manifests, features, transforms, rng, storage and errors."""
