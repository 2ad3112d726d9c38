"""The servers that the serving benchmarks measure, one file each."""
