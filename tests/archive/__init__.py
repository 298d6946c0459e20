"""Several processes, the records of one reading."""
