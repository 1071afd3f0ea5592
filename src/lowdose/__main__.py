"""`python -m lowdose`."""

from lowdose.cli import main

main()
