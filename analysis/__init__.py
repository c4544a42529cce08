"""Read back: Parquet in, numbers, figures and pages out."""
