"""Kernel ridge regression: the contract, exact interpolation, a variance that grows away from the labels."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from nucleate.crystals import CrystalBatch, neighbour_edges
from nucleate.errors import BadInput
from nucleate.potentials.settings import SoapKrrSettings
from nucleate.potentials.soap_krr import _data_rows, fit_soap_krr
from nucleate.potentials.validate import validate_potential

SMALL = SoapKrrSettings(cutoff=4.5, radial=6, zeta=2, points=120)


@pytest.fixture(scope="module")
def labelled(make_crystal, pair_potential, make_label):
    rng = np.random.default_rng(0)
    teacher = pair_potential((11, 17))
    structures = [make_crystal(rng, ["Na"] * (1 + k % 2) + ["Cl"] * (1 + k % 3), volume=24, closest=2.2) for k in range(30)]
    return structures, [make_label(teacher, atoms) for atoms in structures]


def fitted(labelled, settings=SMALL, count=24, forces=True, **options):
    structures, labels = labelled[0][:count], labelled[1][:count]
    kept = [label.forces if forces else None for label in labels]
    stresses = [label.stress if forces else None for label in labels]
    return fit_soap_krr((11, 17), settings, structures, [label.energy for label in labels], kept, stresses, **options)


def rmse(model, labelled, chosen):
    structures = [labelled[0][k] for k in chosen]
    said = model.energy_forces_stress(CrystalBatch.from_atoms(structures))
    energy = [(float(e) - labelled[1][k].energy) / len(labelled[0][k]) for e, k in zip(said.energy[0], chosen, strict=True)]
    forces = said.forces[0].numpy() - np.concatenate([labelled[1][k].forces for k in chosen])
    return float(np.sqrt(np.mean(np.square(energy)))), float(np.sqrt(np.mean(forces**2)))


def test_contract(labelled):
    validate_potential(fitted(labelled, count=8), [labelled[0][1], labelled[0][3]], rtol=1e-9)


def test_learns_from_forces_what_it_was_not_shown(labelled):
    shown, held = rmse(fitted(labelled), labelled, range(24)), rmse(fitted(labelled), labelled, range(24, 30))
    spread = np.std([label.energy / len(atoms) for atoms, label in zip(*labelled, strict=True)])
    force = np.sqrt(np.mean(np.concatenate([label.forces for label in labelled[1]]) ** 2))
    assert shown[0] < 0.25 * spread
    assert held[0] < 0.5 * spread
    assert held[1] < 0.5 * force
    alone = rmse(fitted(labelled, forces=False), labelled, range(24, 30))
    assert held[1] < alone[1]


def test_enough_points_and_little_noise_interpolate(labelled):
    exact = SMALL.model_copy(update={"points": 200, "energy_noise": 1e-6})
    model = fitted(labelled, exact, count=10, forces=False)
    assert rmse(model, labelled, range(10))[0] < 1e-5


def test_the_fit_minimises_its_loss(labelled):
    """A step of any weight makes the regularised squared error larger."""
    model = fitted(labelled, count=8)
    structures, labels = labelled[0][:8], labelled[1][:8]

    def total():
        said = model.energy_forces_stress(CrystalBatch.from_atoms(structures))
        counts = np.array([len(atoms) for atoms in structures])
        energy = (said.energy[0].numpy() - [label.energy for label in labels]) / counts / SMALL.energy_noise
        forces = (said.forces[0].numpy() - np.concatenate([label.forces for label in labels])) / SMALL.force_noise
        volumes = np.array([atoms.get_volume() for atoms in structures]) / counts
        voigt = said.stress[0].numpy()[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        stress = (voigt - np.stack([label.stress for label in labels])) * volumes[:, None] / SMALL.stress_noise
        shear = (stress[:, 3:] ** 2).sum()
        prior = float((model.prior_root.T @ model.alpha).square().sum())
        return (energy**2).sum() + (forces**2).sum() + (stress**2).sum() + shear + prior

    least = total()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(model.alpha), size=6):
        for step in (1e-3, -1e-3):
            model.alpha[place] += step
            assert total() > least
            model.alpha[place] -= step


def test_the_deviation_is_small_at_labels_and_large_elsewhere(labelled, make_crystal):
    model = fitted(labelled, count=8)
    near = model.energy_forces_stress(CrystalBatch.from_atoms(labelled[0][:6])).deviation
    rng = np.random.default_rng(9)
    strange = [bulk("NaCl", "cesiumchloride", 4.6) * (1, 1, 2) for _ in range(6)]
    for atoms in strange:
        atoms.rattle(0.3, rng=rng)
    far = model.energy_forces_stress(CrystalBatch.from_atoms(strange)).deviation
    assert float(near.max()) < 0.3 * float(far.min())


def test_the_deviation_is_the_gaussian_process_one(labelled):
    """Against the textbook formula with every kernel written out, one structure at a time."""
    model = fitted(labelled, count=6)
    batch = CrystalBatch.from_atoms(labelled[0][6:9])
    found = model.energy_forces_stress(batch).deviation
    structures, labels = labelled[0][:6], labelled[1][:6]
    counts = [len(atoms) for atoms in structures]
    own_shift = [float(model.energy_shift[model.species_index[torch.as_tensor(a.numbers)]].sum()) for a in structures]
    target = torch.tensor([label.energy for label in labels]) - torch.tensor(own_shift)
    rows = _data_rows(model, structures, target, [la.forces for la in labels], [la.stress for la in labels], np.ones(6))[:, :-1]
    assert len(rows) == 6 + 3 * sum(counts) + 9 * 6
    prior = model.kernel(model.sparse, model.sparse_kind, model.sparse, model.sparse_kind) + 1e-8 * torch.eye(len(model.sparse))
    posterior = prior + rows.T @ rows
    for k, atoms in enumerate(labelled[0][6:9]):
        alone = CrystalBatch.from_atoms([atoms])
        _, atomic, _ = model.basis(alone, neighbour_edges(alone, model.cutoff))
        spectra, kind = model.spectrum(atomic)[0], model.species_index[alone.numbers]
        cross = model.kernel(spectra, kind, model.sparse, model.sparse_kind).sum(0)
        own = model.kernel(spectra, kind, spectra, kind).sum()
        variance = own - cross @ torch.linalg.solve(prior, cross) + cross @ torch.linalg.solve(posterior, cross)
        assert float(found[k]) == pytest.approx(float(variance.clamp_min(0).sqrt()), rel=1e-4, abs=1e-5)


def test_a_weight_of_four_halves_the_expected_errors(labelled):
    heavy = fitted(labelled, count=6, weights=[4.0] * 6)
    noises = {name: getattr(SMALL, name) / 2 for name in ("energy_noise", "force_noise", "stress_noise")}
    sharp = fitted(labelled, SMALL.model_copy(update=noises), count=6)
    assert torch.allclose(heavy.alpha, sharp.alpha, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(heavy.alpha, fitted(labelled, count=6).alpha, rtol=1e-3)


def test_nothing_to_fit():
    with pytest.raises(BadInput, match="no labelled structures"):
        fit_soap_krr((11,), SMALL, [], [], [], [])
