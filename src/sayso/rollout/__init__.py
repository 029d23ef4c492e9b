"""The only place where a policy meets an environment."""
