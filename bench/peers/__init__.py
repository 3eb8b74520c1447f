"""What we are measured against, built here once."""
