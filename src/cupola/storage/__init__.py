"""What is on disk and how it gets there: durable writes, originals, the catalogue, reconciliation.

`files` and `originals` run in every process; `catalogue` and `reconcile` belong to the server alone.
Nothing here decides what to capture (`capture`) or how to develop it (`darkroom`).
"""
