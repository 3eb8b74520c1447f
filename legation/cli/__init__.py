"""The command. It shows what the services say and holds no logic of its own."""
