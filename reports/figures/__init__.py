"""Charts of searches, and the tables behind them."""
