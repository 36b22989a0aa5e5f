"""Other ways to do the work of the image benchmark, each as its own documentation shows it; see bench_images.py."""
