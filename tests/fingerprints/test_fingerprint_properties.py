"""Each fingerprint has the properties that it states, and agrees with another code where there is one."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import BadInput
from nucleate.fingerprints import transport
from nucleate.fingerprints.base import Environments
from nucleate.fingerprints.graph_signature import GraphSignature
from nucleate.fingerprints.latent import Latent
from nucleate.fingerprints.overlap_matrix import OverlapMatrix
from nucleate.fingerprints.pointwise_distances import PointwiseDistances
from nucleate.fingerprints.power_spectrum import PooledPowerSpectrum
from nucleate.fingerprints.profiles import sorted_profiles
from nucleate.fingerprints.registry import FINGERPRINTS
from nucleate.fingerprints.rematch import Rematch
from nucleate.fingerprints.sensitivity import sensitivity
from nucleate.fingerprints.soap import AverageSoap, soap_spectra
from nucleate.fingerprints.sprint import Sprint
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import ModelSettings


def latent(species, dtype=torch.float64):
    return Latent(ManyBodyCommittee(tuple(species), ModelSettings(members=2, channels=6, hidden=8), 0, dtype))


ALL = {**FINGERPRINTS, Latent.name: latent}
VIEWS = ("cell", "supercell", "permutation", "rotation")


@pytest.fixture(params=[2, 3], ids=["6 atoms", "9 atoms"])
def crystal(request, make_crystal):
    return make_crystal(np.random.default_rng(request.param), ["Na", "Cl", "Cl"] * request.param, volume=28, closest=1.8)


def seen(atoms, view):
    """The same crystal in another description."""
    if view == "cell":
        return make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, -2, 1]])
    if view == "supercell":
        return atoms.repeat((1, 2, 1))
    if view == "permutation":
        return atoms[np.random.default_rng(2).permutation(len(atoms))]
    other = atoms.copy()
    other.set_cell(-atoms.cell.array @ Rotation.random(random_state=1).as_matrix(), scale_atoms=True)
    return other


def described(fingerprint, structures, dtype=torch.float64):
    return fingerprint.describe(CrystalBatch.from_atoms(structures).to(dtype=dtype))


def reach(rows):
    return float((rows.rows if isinstance(rows, Environments) else rows).abs().max())


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", ALL)
def test_one_crystal_in_another_description(name, view, crystal):
    assert getattr(ALL[name].properties if name in FINGERPRINTS else Latent.properties, view)
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 1e-5)):
        fingerprint = latent([11, 17], dtype) if name == Latent.name else ALL[name]([11, 17])
        plain = described(fingerprint, [crystal], dtype)
        other = described(fingerprint, [seen(crystal, view)], dtype)
        # REMatch's distance is the root of a difference, whose rounding error is the root of that of the kernel.
        allowed = np.sqrt(tolerance) if name == Rematch.name else tolerance * max(1.0, reach(plain))
        assert fingerprint.distances(plain, other)[0, 0] < allowed


@pytest.mark.parametrize("name", [name for name in ALL if name != GraphSignature.name])
def test_continuous_where_neighbours_enter_and_leave(name):
    """A crystal that grows passes through all cutoffs; no step changes the fingerprint by more than the steps around it."""
    assert (ALL[name].properties if name in FINGERPRINTS else Latent.properties).continuous
    fingerprint = ALL[name]([11, 17])
    scales = np.linspace(1.0, 1.06, 121)
    structures = []
    for scale in scales:
        atoms = bulk("NaCl", "rocksalt", 5.6)
        atoms.positions[1] += [0.11, 0.05, -0.02]
        atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
        structures.append(atoms)
    steps = []
    batch = described(fingerprint, structures)
    for k in range(len(scales) - 1):
        one, two = ((batch.rows[2 * i : 2 * i + 2] if isinstance(batch, Environments) else batch[i : i + 1]) for i in (k, k + 1))
        steps.append(float((one - two).norm()))
    steps = np.array(steps)
    assert steps.max() < 20 * np.median(steps), (steps.argmax(), steps.max(), np.median(steps))


def test_graph_signature_jumps_where_a_bond_breaks():
    near, far = (bulk("C", "sc", a) for a in (1.89, 1.91))
    assert not GraphSignature.properties.continuous
    one, two = (described(GraphSignature([6]), [atoms]) for atoms in (near, far))
    assert float((one - two).norm()) > 1


def test_average_soap_agrees_with_dscribe(crystal):
    dscribe = pytest.importorskip("dscribe.descriptors", reason="dscribe is not installed")
    theirs = dscribe.SOAP(species=["Na", "Cl"], periodic=True, r_cut=5.0, n_max=5, l_max=4, sigma=0.4, average="off", dtype="float64")
    wanted = theirs.create(crystal)
    batch = CrystalBatch.from_atoms([crystal])
    kinds = (batch.numbers == 17).long()
    found = soap_spectra(batch, kinds, 2, 5.0, 5, 4, 0.4, smooth=False).numpy()
    assert found.shape == wanted.shape
    # The order of the features differs, which the scalar products do not see.
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (found, wanted))
    assert np.abs(one @ one.T - two @ two.T).max() < 1e-6


def test_rematch_agrees_with_dscribe(make_crystal):
    kernels = pytest.importorskip("dscribe.kernels", reason="dscribe is not installed")
    rng = np.random.default_rng(5)
    structures = [make_crystal(rng, ["Na", "Cl"] * n, volume=20, closest=1.8) for n in (2, 3, 4)]
    fingerprint = Rematch([11, 17], gamma=0.1)
    environments = described(fingerprint, structures)
    wanted = kernels.REMatchKernel(metric="linear", alpha=0.1, threshold=1e-10).create([rows for rows, _ in environments.split()])
    found = 1 - fingerprint.distances(environments, environments) ** 2 / 2
    assert np.abs(found - wanted).max() < 1e-5
    with pytest.raises(BadInput, match="smallest value"):
        Rematch([11], gamma=1e-4)


def test_transport_is_the_same_by_assignment_and_by_linear_programme(monkeypatch):
    rng = np.random.default_rng(0)
    for n, m in ((4, 4), (4, 6), (5, 3)):
        cost = rng.random((n, m))
        by_assignment = transport.transport_cost(cost)
        monkeypatch.setattr(transport, "MOST_REPEATED", 0)
        assert transport.transport_cost(cost) == pytest.approx(by_assignment, abs=1e-9)
        monkeypatch.undo()
    cost = rng.random((7, 7))
    assert transport.transport_cost(cost) == pytest.approx(cost[linear_sum_assignment(cost)].mean())


def test_transport_of_other_compositions_is_infinite():
    salts = [bulk("NaCl", "rocksalt", 5.6), bulk("Na", "bcc", 4.2)]
    found = PointwiseDistances([11, 17])
    both = described(found, salts)
    assert np.isinf(found.distances(both, both)[0, 1])
    with pytest.raises(BadInput, match="describe Si"):
        described(found, [bulk("Si")])


def test_pointwise_distances_of_known_crystals():
    """Simple cubic has neighbours 6 at 1, 12 at sqrt 2, 8 at sqrt 3, 6 at 2; an empty cell needs a longer reach."""
    fingerprint = PointwiseDistances([29], neighbours=32)
    wide = Atoms("Cu", cell=[1, 1, 30], pbc=True)
    rows = described(fingerprint, [bulk("Cu", "sc", 1.0), wide]).rows.numpy()
    assert rows[0] == pytest.approx(np.repeat([1, 2**0.5, 3**0.5, 2], [6, 12, 8, 6]))
    assert rows[1][:12] == pytest.approx(np.repeat([1, 2**0.5, 2], [4, 4, 4]))


def test_sorted_profiles_are_means_over_bins():
    values = torch.tensor([3.0, 1.0, 2.0, 8.0], dtype=torch.float64)
    owner = torch.tensor([0, 0, 0, 1])
    found = sorted_profiles(values, owner, torch.tensor([2, 1]), 2.0, 4) / 0.5**0.5
    assert found.tolist() == [[3, 2, 1, 0], [8, 8, 0, 0]]
    wide = sorted_profiles(values, owner, torch.tensor([2, 1]), 2.0, 2)
    assert wide.tolist() == [[2.5, 0.5], [8, 0]]


def test_sprint_of_a_single_site():
    """With one atom in the cell the coordinate is the sum of its contacts."""
    fingerprint = Sprint([29], bins=4)
    atoms = bulk("Cu", "fcc", 3.6)
    found = described(fingerprint, [atoms])
    from nucleate.fingerprints.contacts import contacts

    _, value = contacts(CrystalBatch.from_atoms([atoms]), fingerprint.cutoff, fingerprint.stretch)
    assert found[0].numpy() * 2 == pytest.approx(np.full(4, float(value.sum())))


def homometric():
    """Two sets of four points on a circle with the same distances, not congruent: A. L. Patterson, Phys. Rev. 65, 195 (1944)."""
    for steps in ((0, 1, 2, 5), (0, 1, 3, 4)):
        angle = np.array(steps) * np.pi / 4
        ring = 1.1 * np.c_[np.cos(angle), np.sin(angle), np.zeros(4)]
        yield Atoms("CH4", positions=np.r_[[[0, 0, 0]], ring] + 10, cell=[20, 20, 20], pbc=True)


def test_the_power_spectrum_of_carbon_is_blind_for_a_pair_of_methanes_and_the_overlap_matrix_is_not():
    """S. N. Pozdnyakov et al., Phys. Rev. Lett. 125, 166001 (2020): environments that have the same three-body information."""
    batch = CrystalBatch.from_atoms(list(homometric()))
    carbon = batch.numbers == 6
    spectra = soap_spectra(batch, (batch.numbers == 6).long(), 2, 5.0, 6, 6, 0.3)[carbon]
    assert float((spectra[0] - spectra[1]).norm() / spectra[0].norm()) < 1e-12
    overlap = OverlapMatrix([1, 6], p_orbitals=False).describe(batch).rows[carbon]
    assert float((overlap[0] - overlap[1]).norm()) > 1e-3
    # The environments of the hydrogen atoms differ, and with them the averages over all atoms.
    for kind in (AverageSoap, PooledPowerSpectrum):
        one, two = kind([1, 6]).describe(batch)
        assert float((one - two).norm()) > 1e-3


@pytest.mark.parametrize("name", ["pooled power spectrum", "SOAP transport", "overlap matrix", "pointwise distances"])
def test_only_translations_are_not_seen(name, make_crystal):
    atoms = make_crystal(np.random.default_rng(8), ["Na", "Cl"] * 2, volume=20, closest=1.9)
    values = sensitivity(FINGERPRINTS[name]([11, 17]), atoms).numpy()
    assert values[-3:].max() < 1e-5 * values[0]
    assert values[-4] > 1e-3 * values[0]
