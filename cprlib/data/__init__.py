"""Videos on disk to frames in memory: the manifest, reading, flow, the frame cache and clips."""
