"""Reports: one self-contained HTML page, a table of cases, a summary."""

from lowdose.report.content import comparison_report
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent, Table, write_report
from lowdose.report.simulation import simulation_report
from lowdose.report.tables import results_summary, write_cases_csv

__all__ = [
    "Arm",
    "Facts",
    "KeyFigure",
    "ReportContent",
    "Table",
    "comparison_report",
    "results_summary",
    "simulation_report",
    "write_cases_csv",
    "write_report",
]
