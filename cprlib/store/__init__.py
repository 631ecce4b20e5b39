"""What is kept on disk: folders, fingerprints, atomic writes, checkpoints, released weights."""
