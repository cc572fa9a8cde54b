"""Training: a run in a work folder that the same call resumes."""
