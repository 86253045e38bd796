"""`powmix-dashboard`: a W&B workspace for one sweep, made of panels for what the sweep varies.

powmix-dashboard outputs/sweeps/table3 --entity me --project powmix
powmix-dashboard outputs/sweeps/staged --dry-run            its JSON, without a server
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from powmix.metrics.columns import columns
from powmix.mistakes import Parser
from powmix.runs.collection import read
from powmix.runs.files import read_json
from powmix.runs.identity import sweep_tag
from powmix.runs.records import read_jobs
from powmix.search.space import key_of

LINK = ("trial", "hydra")
FALLBACKS = ("mixing/attention_rate", "mixing/dropped_rate")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    options = _parser().parse_args(arguments)
    if find_spec("wandb_workspaces") is None:
        sys.exit("powmix-dashboard: needs the package wandb-workspaces: pip install 'powmix[workspaces]'")
    sweep = read_sweep(options.sweep)
    workspace = build_workspace(sweep, options.entity or "entity", options.project)
    if options.dry_run:
        text = workspace._to_model().model_dump_json(by_alias=True, indent=2)
        if options.out is None:
            sys.stdout.write(text + "\n")
        else:
            options.out.write_text(text + "\n", encoding="utf-8")
        return
    if not options.entity:
        sys.exit("powmix-dashboard: --entity is missing: the W&B user or team; --dry-run needs none")
    sys.stdout.write(save(workspace) + "\n")


def save(workspace: Any) -> str:
    """Its address, once the server has it; exits with what W&B says where there is no key or no server."""
    from wandb.errors import Error

    try:
        return workspace.save().url
    except Error as error:
        sys.exit(f"powmix-dashboard: {str(error).splitlines()[0]} (--dry-run writes the workspace without a server)")


def read_sweep(folder: Path) -> dict[str, Any]:
    """What a sweep's folder says: its name, what its jobs vary, its metrics; exits with a message when it is none."""
    sweep, jobs = read_json(folder / "sweep.json"), list(read_jobs(folder).values())
    if sweep is None:
        known = sorted(p.parent.name for p in folder.parent.glob("*/sweep.json")) if folder.parent.is_dir() else []
        sys.exit(
            f"powmix-dashboard: no sweep in {folder} (sweep.json is missing); beside it: {', '.join(known) or 'none'}"
        )
    records = read([folder]).records
    metrics = {key for record in records for seed in record.seeds for key in seed.test}
    return {
        "name": sweep.get("name") or folder.resolve().name,
        "varied": varied(jobs),
        "objective": next((record.objective_metric for record in records), "MAE"),
        "metrics": [m.key for m in columns(metrics)],
    }


def varied(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """The keys whose override differs between the jobs of a sweep, in the order in which they appear."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        given = {key_of(text): text for text in job["overrides"] if not key_of(text).startswith(LINK)}
        for key, text in given.items():
            values.setdefault(key, set()).add(text)
    everywhere = {key: sum(any(key_of(t) == key for t in job["overrides"]) for job in jobs) for key in values}
    return [key for key in values if len(values[key]) > 1 or everywhere[key] < len(jobs)]


def build_workspace(sweep: dict[str, Any], entity: str, project: str):
    """The workspace (wandb_workspaces.workspaces.Workspace) of a sweep as `read_sweep` describes it."""
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(name=name, panels=panels, is_open=True) for name, panels in _sections(sweep).items() if panels
    ]
    runs = ws.RunsetSettings(
        filters=expr.And(expr.Tags() == sweep_tag(sweep["name"])),
        groupby=[expr.Metric("Group")],
        order=[expr.Ordering(expr.Summary(f"test/{sweep['objective']}"), ascending=True)],
        pinned_columns=[f"summary:test/{name}" for name in sweep["metrics"]],
    )
    return ws.Workspace(entity, project, name=f"powmix {sweep['name']}", sections=sections, runset_settings=runs)


def _sections(sweep: dict[str, Any]) -> dict[str, list]:
    return {
        "Paired differences": _paired(),
        "Table: mean and standard deviation over seeds": _table(sweep),
        "Curves over p_mix and n_O": _curves(sweep),
        "Subset range": _subset(sweep),
        "Search": _search(sweep),
        "Learning curves": _learning(sweep),
        "How often the attention is undefined": _fallbacks(),
    }


def _paired() -> list:
    """The sweep's own run (tracking/wandb_runs.py): its comparisons paired by seed, its forest plot, its pictures."""
    import wandb_workspaces.reports.v2 as wr

    pictures = ["pictures/forest", "pictures/comparison"]
    return [wr.WeavePanelSummaryTable(table_name="comparison"), wr.MediaBrowser(media_keys=pictures)]


def _table(sweep: dict[str, Any]) -> list:
    """One bar chart with error bars for each metric, a bar for each variant: W&B's tables show no spread."""
    return [_bars(f"test {name}", f"test/{name}", "Group") for name in sweep["metrics"]]


def _curves(sweep: dict[str, Any]) -> list:
    """The objective over p_mix and over n_O: every seed a point, the running best as a line."""
    import wandb_workspaces.reports.v2 as wr

    validation = wr.SummaryMetric(f"best/validation/{sweep['objective']}")
    return [
        wr.ScatterPlot(
            title=f"{sweep['objective']} over {key.rpartition('.')[2]}",
            x=wr.Config(key),
            y=validation,
            log_x=key == "mixer.n_out",
            running_ymean=True,
        )
        for key in ("mixer.p_mix", "mixer.n_out", "dataset.fraction")
        if key in sweep["varied"]
    ]


def _subset(sweep: dict[str, Any]) -> list:
    if not any(key.startswith("mixer.subset") for key in sweep["varied"]):
        return []
    import wandb_workspaces.reports.v2 as wr

    return [
        _bars(f"test {name} by subset range", f"test/{name}", wr.Config("mixer.subset")) for name in sweep["metrics"]
    ]


def _search(sweep: dict[str, Any]) -> list:
    """How the searched values lead to the objective, together and by importance."""
    keys = [key for key in sweep["varied"] if "." in key]
    if not keys:
        return []
    import wandb_workspaces.reports.v2 as wr

    objective = f"best/validation/{sweep['objective']}"
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=key) for key in keys]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(objective), display_name=objective))
    return [
        wr.ParallelCoordinatesPlot(title="parallel coordinates", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=objective),
    ]


def _learning(sweep: dict[str, Any]) -> list:
    import wandb_workspaces.reports.v2 as wr

    return [_lines(wr, key) for key in (f"validation/{sweep['objective']}", "train/loss")]


def _fallbacks() -> list:
    import wandb_workspaces.reports.v2 as wr

    return [_lines(wr, key) for key in FALLBACKS]


def _lines(wr: Any, key: str):
    return wr.LinePlot(
        title=key, x="Step", y=[key], groupby="Group", groupby_aggfunc="mean", groupby_rangefunc="stddev"
    )


def _bars(title: str, metric: str, groupby: Any):
    import wandb_workspaces.reports.v2 as wr

    return wr.BarPlot(
        title=title,
        metrics=[wr.SummaryMetric(metric)],
        orientation="h",
        groupby=groupby,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )


def _parser() -> Parser:
    parser = Parser("powmix-dashboard", description="Build a W&B workspace for a sweep.")
    parser.add_argument("sweep", type=Path, help="the sweep's folder, such as outputs/sweeps/table3")
    parser.add_argument("--entity", help="W&B user or team")
    parser.add_argument("--project", default="powmix")
    parser.add_argument("--dry-run", action="store_true", help="write the workspace's JSON, use no server")
    parser.add_argument("--out", type=Path, help="with --dry-run: the file to write")
    return parser
