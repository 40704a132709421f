"""Running jobs: data, training, evaluation, records."""
