"""The laboratory around `latentsync`: sweeps, records, tables, statistics, figures, reports and widgets."""
