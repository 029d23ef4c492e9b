"""The one place that sees every option: the run's configuration, what it builds, the façade."""
