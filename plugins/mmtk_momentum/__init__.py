"""The slow copy of a model, its queue of features, and the samplers of hard negatives."""
