"""What each service needs to run: settings, logs, metrics, named tasks, clock, the control API's two ends."""
