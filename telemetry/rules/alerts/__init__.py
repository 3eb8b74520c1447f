"""The alerts, one file a group. An alert is one value: its rule, its runbook and promtool's stories about it.

A page is a symptom that callers feel; a cause is a ticket (SRE workbook, chapter 5).
"""
