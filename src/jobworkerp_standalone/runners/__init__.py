"""What a job can do: the runner base, the registry of kinds, the pool of warm instances, one file per kind."""
