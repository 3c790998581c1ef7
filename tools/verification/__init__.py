"""What `verify` looks for: values that are wrong, records that differ, shards that a folder lacks, and what a manifest was written of."""
