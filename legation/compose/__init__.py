"""docker compose: an override that puts sidecars around the services of a team's own files."""
