"""From datasets to batches: readers, pictures, texts, mixtures, streams, and what is set aside."""
