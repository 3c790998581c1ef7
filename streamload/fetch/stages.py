"""The stages that a step goes through on its way from storage into its slot, and how to add one.

A step is filled in **passes**, one after the other. Each pass has a list of stages and one destination for what they make:
memory of this process between passes, the slot for the last one. The first pass loads records from storage (decode · read ·
collate, in `load`); each further one makes fields out of the fields of the pass before it (a function of the user's, in
`transform_records`). Without functions there is one pass, and records go straight into the slot.

In a pass, each stage first *measures*, in the order of the list; then the destination is fitted to what was measured; then each
stage *writes*, in the same order:

- `measure(draft)` finds out what only looking can tell: that records cannot be decoded (`draft.settle`, before any other stage
  of the pass has measured), and how many elements a ragged field has in this batch (`draft.elements[name]`, which every
  ragged field of the pass needs from exactly one stage). It may write *fixed* fields to `draft.target` already, where that is
  how one finds out; it must not write ragged ones, whose room is not known yet.
- `write(draft)` puts everything else in its place in `draft.target`, which may be another than before: rows [0, draft.count) of
  fixed fields; of ragged ones the elements, and `draft.target.offsets[name][: draft.count + 1]`.

What a stage may rely on: `draft.records`, `draft.pieces` (stream, epoch and position of each row: all that randomness may depend
on, besides the stream's seed), `draft.streams` and `draft.slices` always speak of the rows that the batch has now;
`draft.source` holds what the pass before wrote. Arrays of the draft are for this step only and must not be kept. What a stage
raises becomes the error of the step; a StreamloadError keeps its kind, and is given epoch and step.

A stage is made once a process, from the job alone; it owns its memory, whose bytes the loader's footprint must count. It says
what its fields become by the schema that it is planned with: the fields of the last pass are `job.layout.schema`.
To add one: write a class with these methods, and put it into the list of its pass in `fetcher.BatchFetcher`. A stage that takes a
field over from another (say one that crops images while it reads them) writes that field itself, and the field is left
out of the other's list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamload.fetch.draft import BatchDraft, Destination


class Stage(Protocol):
    """One part of the work on a step; the docstring of this module has the rules."""

    def measure(self, draft: BatchDraft) -> None:
        """Find out what the batch consists of, and how many elements its ragged fields have."""
        ...

    def write(self, draft: BatchDraft) -> None:
        """Put this stage's fields into `draft.target`."""
        ...


class Pass:
    """Stages that write to one destination."""

    def __init__(self, stages: Sequence[Stage], destination: Destination) -> None:
        self._stages = tuple(stages)
        self._destination = destination

    def run(self, draft: BatchDraft) -> None:
        """Take one step through the stages. Raises what they raise."""
        if draft.elements:
            draft.elements = {}
        draft.source, draft.target = draft.target, self._destination.begin(draft)
        for stage in self._stages:
            stage.measure(draft)
        draft.target = self._destination.fit(draft)
        for stage in self._stages:
            stage.write(draft)
