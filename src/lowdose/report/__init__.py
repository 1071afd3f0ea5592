"""Reports: one self-contained HTML page, a table of cases, a summary."""

from lowdose.report.any_object import object_report, object_summary
from lowdose.report.content import comparison_report
from lowdose.report.detection import detection_report
from lowdose.report.findings import findings_report, shown_findings
from lowdose.report.invariances import explanation_as_json, invariances_report
from lowdose.report.noise_model import NoiseEvidence, noise_model_report
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent, Table, write_report
from lowdose.report.phantom import phantom_report, phantom_summary, write_readings_csv
from lowdose.report.simulation import simulation_report
from lowdose.report.tables import results_summary, write_cases_csv

__all__ = [
    "Arm",
    "Facts",
    "KeyFigure",
    "NoiseEvidence",
    "ReportContent",
    "Table",
    "comparison_report",
    "detection_report",
    "explanation_as_json",
    "findings_report",
    "invariances_report",
    "noise_model_report",
    "object_report",
    "object_summary",
    "phantom_report",
    "phantom_summary",
    "results_summary",
    "shown_findings",
    "simulation_report",
    "write_cases_csv",
    "write_readings_csv",
    "write_report",
]
