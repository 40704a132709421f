"""From records to statistics, tables, plots and pages."""
