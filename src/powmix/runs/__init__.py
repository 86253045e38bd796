"""The run on disk: identity, files, records, provenance. Written and read here and nowhere else."""
