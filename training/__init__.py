"""The offline pipeline: corpora and labels in, a verified model bundle out."""
