"""The verbs of `nucleate spins` as Python functions.

from nucleate.spins import api

couplings = api.couple("fe.cif", "fe", {"Fe": 2.2}, method="liechtenstein").couplings
result = api.simulate(couplings, temperatures=[600, 800, 1000, 1200], sizes=[6, 8])
print(api.estimate(couplings).rpa, result.crossings)
"""

from nucleate.spins.verbs.couple import FORMATS, Coupled, assign_shells, convert, couple
from nucleate.spins.verbs.magnons import LongWaves, Magnons, magnons
from nucleate.spins.verbs.pair_models import (
    PairPrediction,
    Suggestion,
    evaluate,
    import_pairs,
    predict,
    predict_crystal,
    suggest,
    train,
)
from nucleate.spins.verbs.simulate import OrderEstimate, Simulation, estimate, simulate, spectrum, textures

__all__ = [
    "FORMATS",
    "Coupled",
    "LongWaves",
    "Magnons",
    "OrderEstimate",
    "PairPrediction",
    "Simulation",
    "Suggestion",
    "assign_shells",
    "convert",
    "couple",
    "estimate",
    "evaluate",
    "import_pairs",
    "magnons",
    "predict",
    "predict_crystal",
    "simulate",
    "spectrum",
    "suggest",
    "textures",
    "train",
]
