"""One manifest from one source of videos: each module is a command, ``python -m data_prep.NAME``."""
