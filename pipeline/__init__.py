"""Raw objects to labelled shards: inventory, plan, decode, examples, shards, manifest. Never imports torch."""
