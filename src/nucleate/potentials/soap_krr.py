"""Kernel ridge regression on the power spectra of atomic neighbourhoods, fitted in closed form and with a predictive variance.

    p_i,abl = sum_m A_i,alm A_i,blm / sqrt(2l+1)        a, b: radial function and species of the neighbour
    k(i, s) = delta_z(i)z(s) (p_i . p_s / |p_i| |p_s|)^zeta
    E       = sum_i (e_z(i) + sum_s alpha_s k(i, s))

The weights of the sparse points s are determined from energies, forces and stresses by one linear solve (subset of regressors):
A. P. Bartók, R. Kondor and G. Csányi, Phys. Rev. B 87, 184115 (2013), doi 10.1103/PhysRevB.87.184115 (SOAP and its kernel);
A. P. Bartók and G. Csányi, Int. J. Quantum Chem. 115, 1051 (2015), doi 10.1002/qua.24927 (derivatives as data, sparse points).

The neighbourhood is expanded in the radial functions of `basis`, with delta functions rather than Gaussians at the atoms. The derivatives
with respect to every edge are available, so that stresses are exact, which derivatives summed over periodic images would not give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges, neighbour_edges
from nucleate.crystals.strain import full_from_voigt
from nucleate.errors import BadInput
from nucleate.potentials.base import LearnedModel, Prediction, check_input
from nucleate.potentials.basis import L_MAX, N_LM
from nucleate.potentials.edge_basis import EdgeBasis, make_layout
from nucleate.potentials.settings import SoapKrrSettings

CHUNK = 16
"""Number of sparse points whose forces are computed together."""
STRUCTURES = 16
"""Number of labelled structures that are processed together."""


class SoapKrr(LearnedModel):
    """Kernel ridge regression model, fitted by `fit_soap_krr` or filled with the weights of a file.

    Args:
        species: atomic numbers of the supported elements.
        settings: see `SoapKrrSettings`.
        points: number of sparse points; None uses that of the settings.

    Attributes:
        energy_shift: (n_species,) energy shift of each species, eV.
        sparse: (points, d) normalised power spectra of the sparse points.
        sparse_kind: (points,) indices of their species.
        alpha: (points,) weights, eV.
        prior_root, posterior_root: (points, points) Cholesky factors of K_ss and of K_ss + K_sn noise^-1 K_ns, for the variance.
    """

    family = "soap-krr"
    closed_form = True
    chosen_tensors = ("sparse_kind",)
    members = 1
    energy_shift: Tensor
    species_index: Tensor
    sparse: Tensor
    sparse_kind: Tensor
    alpha: Tensor
    prior_root: Tensor
    posterior_root: Tensor

    def __init__(self, species: tuple[int, ...], settings: SoapKrrSettings | None = None, points: int | None = None):
        super().__init__()
        self.settings = settings or SoapKrrSettings()
        self.species = tuple(sorted(species))
        self.cutoff = self.settings.cutoff
        index = torch.full((120,), -1, dtype=torch.int64)
        index[torch.tensor(self.species)] = torch.arange(len(self.species))
        self.register_buffer("species_index", index)
        self.width = len(self.species) * self.settings.radial
        n = self.settings.points if points is None else points
        self.register_buffer("energy_shift", torch.zeros(len(self.species), dtype=torch.float64))
        self.register_buffer("sparse", torch.zeros(n, (L_MAX + 1) * self.width**2, dtype=torch.float64))
        self.register_buffer("sparse_kind", torch.zeros(n, dtype=torch.int64))
        self.register_buffer("alpha", torch.zeros(n, dtype=torch.float64))
        self.register_buffer("prior_root", torch.eye(n, dtype=torch.float64))
        self.register_buffer("posterior_root", torch.eye(n, dtype=torch.float64))

    @classmethod
    def for_tensors(cls, species: tuple[int, ...], settings: Any, tensors: Mapping[str, Tensor], where: str) -> Self:
        """See `LearnedModel`."""
        return cls(species, settings, tensors["alpha"].numel() if "alpha" in tensors else 0)

    def check_tensors(self, where: str) -> None:
        """See `LearnedModel`."""
        kinds = self.sparse_kind
        if len(kinds) and not 0 <= int(kinds.min()) <= int(kinds.max()) < len(self.species):
            raise BadInput(f"{where}: tensor 'sparse_kind' refers to a species that the header does not list; the file is damaged")

    # -- neighbourhoods ---------------------------------------------------------------------------------------

    def basis(self, batch: CrystalBatch, edges: Edges) -> tuple[EdgeBasis, Tensor, Tensor]:
        """Return the atomic basis, its coefficients (n_atoms, 16, width) and the edge vectors (n_edges, 3) in Å."""
        vectors = edges.vectors(batch).double()
        layout = make_layout(batch, edges, self.species_index, len(self.species), 3000)
        basis = EdgeBasis.compute(layout, vectors, self.settings.radial, self.cutoff)
        atomic = basis.atomic.view(len(batch.numbers), len(self.species), N_LM, -1)
        return basis, atomic.transpose(1, 2).flatten(2), vectors

    def spectrum(self, atomic: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, d) normalised power spectra of (n, 16, width) coefficients, and their (n, 1) norms before normalisation."""
        parts, start = [], 0
        for degree in range(L_MAX + 1):
            block = atomic[:, start : start + 2 * degree + 1] / (2 * degree + 1) ** 0.25
            parts.append((block.transpose(1, 2) @ block).flatten(1))
            start += 2 * degree + 1
        power = torch.cat(parts, dim=1)
        length = power.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return power / length, length

    def kernel(self, spectra: Tensor, kind: Tensor, others: Tensor, other_kind: Tensor) -> Tensor:
        """Return the (n, m) kernel between two sets of neighbourhoods."""
        same = (kind.unsqueeze(1) == other_kind.unsqueeze(0)).to(spectra.dtype)
        return same * (spectra @ others.T) ** self.settings.zeta

    def slopes(self, atomic: Tensor, spectra: Tensor, length: Tensor, weight: Tensor, points: Tensor) -> Tensor:
        """Return dE_c/dA of E_c = sum_i weight_ci dot_ci^zeta, where dot_ci is the product of the spectra of atom i and point c.

        Args:
            atomic: (n, 16, width) coefficients A.
            spectra, length: result of `spectrum`.
            weight: (c, n) weights, zero for atoms of another species.
            points: (c, d) spectra of the points.

        Returns:
            (c, n_atoms, 16, width) derivatives.
        """
        zeta = self.settings.zeta
        dot = points @ spectra.T
        factor = weight * zeta * dot ** (zeta - 1) / length.T
        # d dot / d power = (point - dot * spectrum) / length; the power spectrum is quadratic in A and symmetric.
        pull = points.unsqueeze(1) - dot.unsqueeze(2) * spectra.unsqueeze(0)
        return self._through(atomic, pull * factor.unsqueeze(2))

    def _through(self, atomic: Tensor, pull: Tensor) -> Tensor:
        """Convert dE/dpower (c, n, d) to dE/dA (c, n, 16, width)."""
        c, n = pull.shape[:2]
        result, start = [], 0
        for degree in range(L_MAX + 1):
            matrix = pull[:, :, degree * self.width**2 : (degree + 1) * self.width**2].reshape(c, n, self.width, self.width)
            block = atomic[:, start : start + 2 * degree + 1]
            result.append(block @ (matrix + matrix.transpose(2, 3)) / (2 * degree + 1) ** 0.5)
            start += 2 * degree + 1
        return torch.cat(result, dim=2)

    def _rows(self, slope: Tensor) -> Tensor:
        """Reorder (c, n, 16, width) to the rows of the edge basis (c, n * n_species, 16, radial)."""
        c, n = slope.shape[:2]
        return slope.view(c, n, N_LM, len(self.species), -1).transpose(2, 3).reshape(c, n * len(self.species), N_LM, -1)

    # -- the potential ----------------------------------------------------------------------------------------

    @property
    def parameter_count(self) -> int:
        """Number of sparse points."""
        return len(self.alpha)

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: None = None, mean_forces: bool = False
    ) -> Prediction:
        """Predict energies, forces and stresses with a committee axis of length one; see `Potential`."""
        check_input(self.species, self.cutoff, batch, edges)
        edges = neighbour_edges(batch, self.cutoff) if edges is None else edges
        kind = self.species_index[batch.numbers]
        basis, atomic, vectors = self.basis(batch, edges)
        spectra, length = self.spectrum(atomic)
        dot = spectra @ self.sparse.T
        same = (kind.unsqueeze(1) == self.sparse_kind.unsqueeze(0)).double()
        zeta = self.settings.zeta
        cross = same * dot**zeta
        per_atom = cross @ self.alpha + self.energy_shift[kind]
        # dE/dpower is linear in the points, so all points are evaluated together.
        factor = same * zeta * dot ** (zeta - 1) * self.alpha / length
        pull = factor @ self.sparse - (factor * dot).sum(1, keepdim=True) * spectra
        gradient = self._rows(self._through(atomic, pull.unsqueeze(0)))
        forces, virial = basis.forces_and_virial(gradient, batch, edges, vectors)
        energy = per_atom.new_zeros(len(batch)).index_add(0, batch.structure, per_atom)
        stress = virial / batch.volumes.view(-1, 1, 1)
        deviation = self._deviation(batch, spectra, kind, cross)
        return Prediction(energy.unsqueeze(0), forces, 0.5 * (stress + stress.transpose(-1, -2)), deviation)

    def _deviation(self, batch: CrystalBatch, spectra: Tensor, kind: Tensor, cross: Tensor) -> Tensor:
        """Return the (n_structures,) standard deviation of the energy given the labels, eV; the variance of the kernel is 1 eV².

        The variance is k** - k*s K_ss^-1 ks* + k*s (K_ss + K_sn noise^-1 K_ns)^-1 ks*. The first two terms are the part that the sparse
        points cannot represent, the last one is the part that the labels do not determine.

        Args:
            batch: the structures.
            spectra, kind: power spectra and species of their atoms.
            cross: (n_atoms, points) kernel with the sparse points.
        """
        n, most = len(batch), int(batch.counts.max())
        summed = cross.new_zeros(n, cross.shape[1]).index_add(0, batch.structure, cross)
        # Only atoms of the same structure are correlated, so the spectra are arranged with one row per structure.
        place = torch.arange(len(kind), device=kind.device) - (torch.cumsum(batch.counts, 0) - batch.counts)[batch.structure]
        rows = spectra.new_zeros(n, most, spectra.shape[1])
        rows[batch.structure, place] = spectra
        kinds = kind.new_full((n, most), -1)
        kinds[batch.structure, place] = kind
        same = (kinds.unsqueeze(2) == kinds.unsqueeze(1)) & (kinds >= 0).unsqueeze(2)
        total = (same * torch.bmm(rows, rows.transpose(1, 2)) ** self.settings.zeta).sum((1, 2))
        known = torch.linalg.solve_triangular(self.prior_root, summed.T, upper=False)
        left = torch.linalg.solve_triangular(self.posterior_root, summed.T, upper=False)
        result: Tensor = (total - (known**2).sum(0) + (left**2).sum(0)).clamp_min(0).sqrt()
        return result


def fit_soap_krr(
    species: tuple[int, ...],
    settings: SoapKrrSettings,
    structures: Sequence[Atoms],
    energies: Sequence[float],
    forces: Sequence[np.ndarray | None],
    stresses: Sequence[np.ndarray | None],
    seed: int = 0,
    weights: Sequence[float] | None = None,
) -> SoapKrr:
    """Fit the model to labels in closed form.

    Args:
        species: atomic numbers of the model.
        settings: kernel, points and expected errors.
        structures: labelled structures.
        energies: energy of each structure, eV.
        forces: (n_atoms, 3) forces of each structure, eV/Å, or None.
        stresses: (6,) stress of each structure, eV/Å³, or None.
        seed: random seed of the choice of the first sparse point.
        weights: weight of each structure, whose expected errors are divided by the square root of the weight; None weights all equally.

    Raises:
        BadInput: there are no structures.
    """
    if not structures:
        raise BadInput("there are no labelled structures to train on; give at least one")
    model = SoapKrr(species, settings)
    counts = np.array([[np.count_nonzero(a.numbers == z) for z in model.species] for a in structures], dtype=float)
    per_atom = counts / counts.sum(1, keepdims=True)
    root = np.sqrt(np.ones(len(structures)) if weights is None else np.asarray(weights, dtype=float))
    shift, *_ = np.linalg.lstsq(per_atom * root[:, None], root * np.array(energies) / counts.sum(1), rcond=1e-6)
    model.energy_shift = torch.as_tensor(shift)
    parts = [range(k, min(k + STRUCTURES, len(structures))) for k in range(0, len(structures), STRUCTURES)]
    _choose_points(model, [[structures[k] for k in part] for part in parts], seed)
    n = len(model.sparse)
    prior = model.kernel(model.sparse, model.sparse_kind, model.sparse, model.sparse_kind) + 1e-8 * torch.eye(n, dtype=torch.float64)
    model.prior_root = torch.linalg.cholesky(prior)
    # Rows of data divided by their noise are added to a QR factorisation part by part, without normal equations or all rows in memory.
    triangle = torch.cat([model.prior_root.T, torch.zeros(n, 1, dtype=torch.float64)], dim=1)
    for part in parts:
        rows = _data_rows(
            model,
            [structures[k] for k in part],
            torch.tensor([energies[k] - float(counts[k] @ shift) for k in part], dtype=torch.float64),
            [forces[k] for k in part],
            [stresses[k] for k in part],
            root[part],
        )
        triangle = torch.linalg.qr(torch.cat([triangle, rows]), mode="r").R
    upper, right = triangle[:n, :n], triangle[:n, n]
    model.alpha = torch.linalg.solve_triangular(upper, right.unsqueeze(1), upper=True).squeeze(1)
    model.posterior_root = upper.T.contiguous()
    return model


def _choose_points(model: SoapKrr, parts: list[list[Atoms]], seed: int) -> None:
    """Set the sparse points by farthest-point selection among the neighbourhoods."""
    spectra, kinds = [], []
    for structures in parts:
        batch = CrystalBatch.from_atoms(structures)
        _, atomic, _ = model.basis(batch, neighbour_edges(batch, model.cutoff))
        spectra.append(model.spectrum(atomic)[0])
        kinds.append(model.species_index[batch.numbers])
    every, kind = torch.cat(spectra), torch.cat(kinds)
    count = min(model.settings.points, len(every))
    chosen = [int(np.random.default_rng(seed).integers(len(every)))]
    nearest = torch.full((len(every),), torch.inf, dtype=torch.float64)
    for _ in range(count - 1):
        last = chosen[-1]
        apart = (every - every[last]).norm(dim=1) + 10.0 * (kind != kind[last])
        nearest = torch.minimum(nearest, apart)
        chosen.append(int(nearest.argmax()))
    model.sparse, model.sparse_kind, model.alpha = every[chosen], kind[chosen], torch.zeros(count, dtype=torch.float64)


def _data_rows(
    model: SoapKrr,
    structures: list[Atoms],
    energy: Tensor,
    forces: list[np.ndarray | None],
    stresses: list[np.ndarray | None],
    root: np.ndarray,
) -> Tensor:
    """Return (n_data, n_points + 1) rows: derivatives of every label with respect to alpha, and the label, divided by its noise.

    `root` is the square root of the weight of each structure.
    """
    s = model.settings
    batch = CrystalBatch.from_atoms(structures)
    edges = neighbour_edges(batch, model.cutoff)
    kind, counts = model.species_index[batch.numbers], batch.counts
    basis, atomic, vectors = model.basis(batch, edges)
    spectra, length = model.spectrum(atomic)
    cross = model.kernel(spectra, kind, model.sparse, model.sparse_kind)
    by_structure = cross.new_zeros(len(batch), cross.shape[1]).index_add(0, batch.structure, cross)
    pulls, strains = [], []
    for first in range(0, len(model.sparse), CHUNK):
        points = model.sparse[first : first + CHUNK]
        same = (model.sparse_kind[first : first + CHUNK].unsqueeze(1) == kind.unsqueeze(0)).double()
        gradient = model._rows(model.slopes(atomic, spectra, length, same, points))
        force, virial = basis.forces_and_virial(gradient, batch, edges, vectors)
        pulls.append(force)
        strains.append(0.5 * (virial + virial.transpose(-1, -2)) / counts.view(-1, 1, 1))
    pull, strain = torch.cat(pulls), torch.cat(strains)
    scale = torch.as_tensor(root).unsqueeze(1)
    rows = [scale * torch.cat([by_structure, energy.unsqueeze(1)], dim=1) / (counts.unsqueeze(1) * s.energy_noise)]
    ends = torch.cumsum(counts, 0).tolist()
    for k, (force_label, stress_label) in enumerate(zip(forces, stresses, strict=True)):
        if force_label is not None:
            mine = pull[:, ends[k] - len(structures[k]) : ends[k]].flatten(1).T
            label = torch.as_tensor(np.array(force_label, dtype=float)).flatten().unsqueeze(1)
            rows.append(root[k] * torch.cat([mine, label], dim=1) / s.force_noise)
        if stress_label is not None:
            stress = full_from_voigt(torch.as_tensor(np.array(stress_label, dtype=float)).unsqueeze(0))[0]
            label = (stress * batch.volumes[k] / counts[k]).flatten().unsqueeze(1)
            rows.append(root[k] * torch.cat([strain[:, k].flatten(1).T, label], dim=1) / s.stress_noise)
    return torch.cat(rows)
