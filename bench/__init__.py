"""What Legation costs, measured beside the best known alternative in one run: `make bench`."""
