"""Results, tables and plots of trainings."""
