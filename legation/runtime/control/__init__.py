"""The control API, the only wire between our services: its messages, its server and its client."""
