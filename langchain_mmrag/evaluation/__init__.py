"""Measure retrieval over pictures and passages.

    data of one's own ─► RetrievalDataset ─► retrievers ─► evaluate ─► Report
    builders/, jsonl     dataset                stores      runner      report, plot

    RetrievalDataset ─► compare_patterns ─► PatternReport: what is found, sent to a model, and answered
                        patterns, sent, answered

A retriever is any LangChain retriever, or a callable from a query to documents or ids in order. Scores are
broken down by what is asked with and what is asked for, as rankings of several modalities fail one-sidedly.
"""

from langchain_mmrag.evaluation.dataset import EvalDocument, EvalQuery, RetrievalDataset
from langchain_mmrag.evaluation.jsonl import load_dataset, save_dataset
from langchain_mmrag.evaluation.patterns import PatternReport, compare_patterns
from langchain_mmrag.evaluation.report import Report
from langchain_mmrag.evaluation.runner import evaluate
from langchain_mmrag.evaluation.thresholds import held_out, measure_thresholds

__all__ = [
    "EvalDocument",
    "EvalQuery",
    "PatternReport",
    "Report",
    "RetrievalDataset",
    "compare_patterns",
    "evaluate",
    "held_out",
    "load_dataset",
    "measure_thresholds",
    "save_dataset",
]
