"""Jobs: what is above one run. `python -m jobs --help`."""
