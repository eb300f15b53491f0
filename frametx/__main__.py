"""`python -m frametx`."""

from frametx.cli import main

main()
