"""Active learning with labels from first principles: which dimers of magnesia to compute, computed as they are chosen.

Every label is two GPAW calculations (some 20 s); all are kept in couplings/ledger.db, so that a stopped run goes on.
"""

from pathlib import Path

import numpy as np
from ase.build import bulk

from nucleate.errors import ReferenceFailed
from nucleate.reference import Dispatcher, ReferenceSettings, make_reference
from nucleate.reference.ledger import ledger_file
from nucleate.spins.dft.dimers import dimer_coupling, host_pairs, put_in
from nucleate.spins.dft.mapping import MappingSettings
from nucleate.spins.models.active import ActiveSettings, learn_actively
from nucleate.spins.models.data import Pairs

MOMENTS = {"V": 3.0, "Mn": 5.0, "Ni": 2.0}

host = bulk("MgO", "rocksalt", a=4.25, cubic=True)
(sites,) = host_pairs(host, "Mg", 3.2)
metals = sorted(MOMENTS)
dimers = [put_in(host, sites, (a, b)) for k, a in enumerate(metals) for b in metals[k:]]
pool = Pairs.of_crystals([d.atoms for d in dimers], [d.sites for d in dimers], [d.vector for d in dimers], np.full(len(dimers), np.nan))

out = Path("couplings")
out.mkdir(exist_ok=True)
reference = ReferenceSettings(
    cutoff=350, k_spacing=0.75, smearing=0.1, workers=0, parameters={"setups": {metal: ":d,4.0" for metal in metals}}
)
with ledger_file(out / "ledger.db") as ledger, Dispatcher(make_reference(reference), ledger) as dispatcher:

    def label(row: int) -> float | None:
        """J of one dimer, or None if a state failed."""
        try:
            found = dimer_coupling(dimers[row], MappingSettings(moments=MOMENTS, insulator=True), dispatcher)
        except ReferenceFailed as failure:
            print(f"{'-'.join(dimers[row].elements)}: {failure.reason}")
            return None
        print(f"{'-'.join(dimers[row].elements)}: {found.coupling:+.2f} meV")
        return found.coupling

    ended = learn_actively(pool, label, ActiveSettings(first=4, batch=1, budget=5, components=0))

left = [k for k in range(len(pool)) if k not in ended.asked]
for row, j, error in zip(left, *ended.model.predict(pool.take(left)), strict=True):
    print(f"{'-'.join(dimers[row].elements)} predicted: {j:+.2f} ± {error:.2f} meV")
