"""Training: the learner, its checkpoints, the loop and its saved state, optimizers, schedules and loggers."""
