"""Which candidates a stage tries: pools, screening, and fvcore as the referee."""
