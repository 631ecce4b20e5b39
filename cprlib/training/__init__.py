"""Self-supervised training: configuration, step, fit, co-training, snapshots."""
