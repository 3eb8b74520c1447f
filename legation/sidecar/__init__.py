"""One instance's life: `legation run`."""
