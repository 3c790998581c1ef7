"""Larger than memory: the first epoch of a file in a control group a fraction of its size, against the same without the limit."""

from __future__ import annotations

from typing import Any

from bench.command import Report, arguments
from bench.data import raw
from streamload.sizes import format_nbytes, parse_nbytes
from streamload.tools.benchmark.cgroup import confined, homes
from streamload.tools.benchmark.comparison import Comparison, Competitor, Run, in_turns
from streamload.tools.files.page_cache import make_cold

AIM = 0.9


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("limited", __doc__ or "", nbytes="6GB", pairs=3)
    parser.add_argument(
        "--limit",
        type=lambda text: parse_nbytes(text, name="limit"),
        default=10**9,
        help="of the control group, page cache included (default 1GB)",
    )
    parser.add_argument("--io", default="auto", help="streamload's io= (default auto)")
    parser.add_argument("--record", type=int, default=150_528, help="bytes of a record (default 150,528)")
    options = parser.parse_args(given)
    report = Report("limited", options)
    confinement = confined(options.limit)
    if confinement is None:
        report.say("left out: this process may not make a control group with a memory limit")
        report.end()
        return
    made = raw(report.folder, record_nbytes=options.record, nbytes=options.nbytes)
    config: dict[str, Any] = {"path": str(made.path), "batch": options.batch, "workers": options.workers, "settle": 0, "io": options.io}
    states: list[str] = []
    peaks: list[int] = []

    def unlimited() -> Run:
        make_cold([made.path])  # what is in the cache when the workers start would be mapped, and could not be evicted
        with Competitor("streamload", "ours", config) as loader:
            states.append(make_cold([made.path]))
            return loader.run()

    def limited() -> Run:
        group = confined(options.limit)
        assert group is not None
        with group:
            run = unlimited()
        peaks.append(group.peak_nbytes)
        return run

    pairs = in_turns(limited, unlimited, options.pairs)
    sizes = f"{made.record_nbytes:,} B x {made.records:,} ({format_nbytes(made.nbytes)}) in {format_nbytes(options.limit)}"
    report.compare(
        Comparison(
            what=f"first epoch, cold, Exact, {sizes}",
            ours="streamload, limited",
            theirs="streamload, unlimited",
            pairs=pairs,
            cache=states[-1],
            target=AIM,
        )
    )
    home, version = homes()[0]
    report.say(
        f"    cgroup v{version} in {home}: limit {format_nbytes(options.limit)}, peak {format_nbytes(max(peaks))}, "
        "page cache included; nothing was killed",
        limit=options.limit,
        peaks=peaks,
    )
    report.end()


if __name__ == "__main__":
    main()
