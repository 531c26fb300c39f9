"""The index of an archive: encoded recordings as Parquet, kept up to date, asked without encoding."""
