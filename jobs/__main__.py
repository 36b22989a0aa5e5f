"""`python -m unlabeled.jobs` is the command line, for interpreters whose scripts are not on the PATH."""

from .cli import main

main()
