"""A dataset on one static HTML page: what it holds, what is odd about it, what was left out and why."""
