"""Zarr stores packed by Blosc, shuffled by blocks: streamload against bare decoders of the same chunks."""

from __future__ import annotations

from typing import Any

from bench.command import Report, arguments
from bench.data import zarr_store
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, in_turns
from streamload.tools.files.page_cache import make_warm

COMPRESSORS = ("zstd", "lz4")
CHUNK_RECORDS = 64
AIM = 0.75


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("stores", __doc__ or "")
    parser.add_argument("--window", default="32 MB", help="of Block (default 32 MB, so that an epoch has many)")
    options = parser.parse_args(given)
    report = Report("stores", options)
    for compressor in COMPRESSORS:
        made = zarr_store(report.folder, compressor=compressor, chunk_records=CHUNK_RECORDS, nbytes=options.nbytes)
        gain = made.nbytes / made.stored_nbytes
        report.say(
            f"store {made.path.name}: {made.records:,} records, {format_nbytes(made.nbytes)} decoded, {gain:.2f} times the stored bytes"
        )
        cache = make_warm(sorted((made.path / "image").iterdir()))
        config: dict[str, Any] = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "codec": "blosc"}
        name = f"{options.workers} bare decoders"
        with (
            Competitor("streamload", "ours", {**config, "order": "block", "window": options.window}) as loader,
            Competitor(name, "decoders", {**config, "decoder": "blosc"}) as limit,
        ):
            pairs = in_turns(loader.run, limit.run, options.pairs)
        what = f"warm Zarr, Blosc {compressor}, chunks of {CHUNK_RECORDS}, 3,072 B x {made.records:,}, Block {options.window}"
        report.compare(Comparison(what=what, ours="streamload", theirs=name, pairs=pairs, cache=cache, target=AIM))
    report.end()


if __name__ == "__main__":
    main()
