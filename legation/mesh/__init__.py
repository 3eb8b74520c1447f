"""What the operator wrote, typed. Imports nothing of the rest of the suite."""
