"""The Optuna study of a stage."""
