"""Filling one step: the work itself, done alike in a worker process and in the calling one.

`job` is what a worker is given once, and `tasks` what it is sent for each step and window. `fetcher` fills a step: it runs a `draft`
through passes of `stages`. The stages that load records are in `load`, those of augmentation in `augment_fields` and `augment_images`,
those of functions of the user's in `transform_records` and `transform_batch`, the last one in `arrange_ragged`. `streams` has the open
files; `windows` decodes blocks into the arena, by the tables in `window_tables`. `bad_records` decides what stands in place of records
that cannot be delivered, and `probe` finds out, before any worker runs, what functions of the user's return.
"""
