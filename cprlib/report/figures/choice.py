"""How well the agreement of the views foretells which cascade mines best."""

from collections.abc import Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.report.figures.style import RC, draw_legend, panel_row
from cprlib.report.names import view_label

MARKS = {1: "v", 2: "^", 3: "s", 4: "D", 5: "o", 7: "P"}  # of so many stages


@rc_context(RC)
def choice_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """PMR over agreement, a point for each plan, a panel for each network.

    Args:
        tables: title, e.g. a view -> :func:`cprlib.evaluation.choice.rank_plans` with a column `pmr` in [0, 1].
    """
    figure, panels = panel_row(len(tables), 3.6)
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        for count, part in table.groupby("num_stages"):
            label = f"{count} stage{'s' if count > 1 else ''}"
            axes.plot(part["agreement"], 100 * part["pmr"], MARKS.get(count, "x"), ms=5, alpha=0.8, label=label)
        rank = table[["agreement", "pmr"]].corr(method="spearman").iloc[0, 1]
        axes.set(title=f"{view_label(title)} network: Spearman {rank:.2f}", xlabel="Agreement of the views")
    panels[0].set_ylabel("PMR (%)")
    draw_legend(figure, panels)
    return figure
