"""The whole stack, in containers or as processes of this machine, and the demo that runs on it."""
