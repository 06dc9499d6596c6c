"""The loops over particles behind the event shapes, compiled.

All in one module: numba's cache on disk follows the source of the calling module only. Each kernel goes once
over the candidates and writes its row of every column; ``p`` is |p|, ``u`` a unit vector.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

N_ORDERS = 5  # Legendre orders 0 to 4
N_CONES = 9
N_KSFW = 18  # et, mm2, hso00-04, hso10, 12, 14, hso20, 22, 24, hoo0-4

# Columns of `shapes`
THRUST_B, THRUST_O, COS_TBTO, COS_TBZ = 0, 1, 2, 3
R1 = 4  # and R2, R3, R4
CONES = 8
CONES_ROE = CONES + N_CONES
KSFW_PRIMARY = CONES_ROE + N_CONES
KSFW_FINAL = KSFW_PRIMARY + N_KSFW
TENSOR = KSFW_FINAL + N_KSFW  # xx, xy, xz, yy, yz, zz of sum p_i p_j / sum p^2
VISIBLE = TENSOR + 6  # energy, px, py, pz
N_COLUMNS = VISIBLE + 4

_FLAT = 1e-18  # squared sine below which a momentum lies in a plane, or along another, but for rounding
_CONE_EDGES = np.cos(np.deg2rad(10.0 * np.arange(1, N_CONES)))


@numba.njit(cache=True)
def _norm2(x: float, y: float, z: float) -> float:
    return x * x + y * y + z * z


@numba.njit(cache=True)
def _in_plane_best(v, n, i, axis, best):  # type: ignore[no-untyped-def]
    """The best signed sum among those that planes near the one normal to ``n`` give, turned about ``i``."""
    mx = n[1] * v[i, 5] - n[2] * v[i, 4]  # n x u_i: in the plane, across u_i
    my = n[2] * v[i, 3] - n[0] * v[i, 5]
    mz = n[0] * v[i, 4] - n[1] * v[i, 3]
    n2 = _norm2(n[0], n[1], n[2])
    for combination in range(4):
        turn = 1.0 if combination & 1 else -1.0
        side = 1.0 if combination & 2 else -1.0
        x, y, z = 0.0, 0.0, 0.0
        for k in range(len(v)):
            d = n[0] * v[k, 3] + n[1] * v[k, 4] + n[2] * v[k, 5]
            if d * d <= _FLAT * n2:
                d = turn * (mx * v[k, 3] + my * v[k, 4] + mz * v[k, 5])
                if d * d <= _FLAT * n2:
                    d = side * (v[i, 3] * v[k, 3] + v[i, 4] * v[k, 4] + v[i, 5] * v[k, 5])
            sign = 1.0 if d > 0 else -1.0
            x += sign * v[k, 0]
            y += sign * v[k, 1]
            z += sign * v[k, 2]
        square = _norm2(x, y, z)
        if square > best:
            best = square
            axis[0], axis[1], axis[2] = x, y, z
    return best


@numba.njit(cache=True)
def thrust_axis(v, axis):  # type: ignore[no-untyped-def]
    """Thrust of momenta, exactly.

    The sum of the momenta, each with a sign, is longest when a plane through the origin parts the signs. Such
    a plane can be turned, with no momentum crossing it, until two momenta lie in it; so the planes through
    each pair of momenta, with both signs of the two, give every candidate for the longest sum. Planes that
    hold more momenta than two are turned about each of them. O(n³).

    Args:
        v: px, py, pz, ux, uy, uz of each momentum, shape (n, 6); no momentum is zero.
        axis: Unit vector along the thrust axis, z >= 0, written, shape (3,); zero where n is 0.

    Returns:
        Thrust, NaN where n is 0.
    """
    n = len(v)
    axis[:] = 0.0
    if n == 0:
        return np.nan
    normal = np.empty(3)
    best = 0.0
    for i in range(n):
        for j in range(i):
            nx = v[i, 4] * v[j, 5] - v[i, 5] * v[j, 4]
            ny = v[i, 5] * v[j, 3] - v[i, 3] * v[j, 5]
            nz = v[i, 3] * v[j, 4] - v[i, 4] * v[j, 3]
            n2 = _norm2(nx, ny, nz)
            if n2 <= _FLAT:
                continue
            x, y, z, smallest = 0.0, 0.0, 0.0, n2
            for k in range(n):
                if k in (i, j):
                    continue
                d = nx * v[k, 3] + ny * v[k, 4] + nz * v[k, 5]
                smallest = min(smallest, d * d)
                sign = 1.0 if d > 0 else -1.0
                x += sign * v[k, 0]
                y += sign * v[k, 1]
                z += sign * v[k, 2]
            if smallest <= _FLAT * n2:
                normal[0], normal[1], normal[2] = nx, ny, nz
                best = _in_plane_best(v, normal, i, axis, best)
                best = _in_plane_best(v, normal, j, axis, best)
                continue
            for side in (-1.0, 1.0):
                ax, ay, az = x + side * v[i, 0], y + side * v[i, 1], z + side * v[i, 2]
                along = 1.0 if ax * v[j, 0] + ay * v[j, 1] + az * v[j, 2] > 0 else -1.0
                ax += along * v[j, 0]
                ay += along * v[j, 1]
                az += along * v[j, 2]
                square = _norm2(ax, ay, az)
                if square > best:
                    best = square
                    axis[0], axis[1], axis[2] = ax, ay, az
    if best == 0.0:  # all on one line
        for k in range(n):
            d = v[0, 3] * v[k, 3] + v[0, 4] * v[k, 4] + v[0, 5] * v[k, 5]
            for c in range(3):
                axis[c] += v[k, c] if d > 0 else -v[k, c]
    total = 0.0
    for k in range(n):
        total += np.sqrt(_norm2(v[k, 0], v[k, 1], v[k, 2]))
    length = np.sqrt(_norm2(axis[0], axis[1], axis[2]))
    axis /= length if axis[2] >= 0 else -length
    return min(length / total, 1.0)


@numba.njit(cache=True)
def _fill(momenta, charge, start, stop, largest, v, q):  # type: ignore[no-untyped-def]
    """Momenta that are neither zero nor above ``largest`` into ``v`` and ``q``; returns their number."""
    n = 0
    for k in range(start, stop):
        square = _norm2(momenta[k, 0], momenta[k, 1], momenta[k, 2])
        if square == 0.0 or square > largest * largest:
            continue
        length = np.sqrt(square)
        for c in range(3):
            v[n, c] = momenta[k, c]
            v[n, 3 + c] = momenta[k, c] / length
        v[n, 6] = length
        q[n] = charge[k]
        n += 1
    return n


@numba.njit(cache=True)
def _legendre(v, i, w, j):  # type: ignore[no-untyped-def]
    """P_0 to P_4 of the cosine of the angle between two momenta."""
    c = v[i, 3] * w[j, 3] + v[i, 4] * w[j, 4] + v[i, 5] * w[j, 5]
    c2 = c * c
    return c, 1.5 * c2 - 0.5, c * (2.5 * c2 - 1.5), (4.375 * c2 - 3.75) * c2 + 0.375


@numba.njit(cache=True)
def _ksfw(sig, q_sig, roe, q_roe, oo, missing, missing_energy, et, maximum, out):  # type: ignore[no-untyped-def]
    """The 18 KSFW variables of one candidate, into ``out``; ``oo`` are the sums over pairs of the rest."""
    out[:] = 0.0
    out[0] = et
    square = missing[0, 6] ** 2
    out[1] = missing_energy**2 * (1.0 if missing_energy > 0 else -1.0) - square
    for i in range(len(sig)):
        for j in range(len(roe)):
            p1, p2, p3, p4 = _legendre(sig, i, roe, j)
            p = roe[j, 6]
            if q_roe[j] == 0:
                out[7] += p
                out[8] += p * p2
                out[9] += p * p4
            else:
                charges = p * q_sig[i] * q_roe[j]
                out[2] += p
                out[3] += charges * p1
                out[4] += p * p2
                out[5] += charges * p3
                out[6] += p * p4
        if missing[0, 6] > 0:
            p1, p2, p3, p4 = _legendre(sig, i, missing, 0)
            out[10] += missing[0, 6]
            out[11] += missing[0, 6] * p2
            out[12] += missing[0, 6] * p4
    out[13:] = oo
    if missing[0, 6] > 0:
        for j in range(len(roe)):
            p1, p2, p3, p4 = _legendre(roe, j, missing, 0)
            p = roe[j, 6] * missing[0, 6]
            out[13] += p
            out[15] += p * p2
            out[17] += p * p4
    out[2:13] /= maximum
    out[13:] /= maximum * maximum


@numba.njit(cache=True)
def _sums(momenta, start, stop, largest):  # type: ignore[no-untyped-def]
    """Sums of px, py, pz, E and of the transverse momentum."""
    x, y, z, energy, transverse = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(start, stop):
        if _norm2(momenta[k, 0], momenta[k, 1], momenta[k, 2]) > largest * largest:
            continue
        x += momenta[k, 0]
        y += momenta[k, 1]
        z += momenta[k, 2]
        energy += momenta[k, 3]
        transverse += np.sqrt(momenta[k, 0] ** 2 + momenta[k, 1] ** 2)
    return x, y, z, energy, transverse


@numba.njit(cache=True)
def _missing(x: float, y: float, z: float, v: NDArray) -> None:
    length = np.sqrt(_norm2(x, y, z))
    v[0, :] = 0.0
    v[0, 6] = length
    if length > 0:
        v[0, 0], v[0, 1], v[0, 2] = -x, -y, -z
        v[0, 3], v[0, 4], v[0, 5] = -x / length, -y / length, -z / length


@numba.njit(cache=True)
def _cone(c: float) -> int:
    """Which of the nine 10-degree cones about an axis, both ends together, an angle's cosine falls into."""
    cone = 0
    for edge in _CONE_EDGES:
        cone += abs(c) <= edge
    return cone


@numba.njit(cache=True)
def _longest(offsets: NDArray) -> int:
    longest = 1
    for c in range(len(offsets) - 1):
        longest = max(longest, offsets[c + 1] - offsets[c])
    return longest


@numba.njit(cache=True, nogil=True)
def shapes(  # type: ignore[no-untyped-def]
    sig_p, sig_q, sig_offsets, primary_p, primary_q, primary_offsets, roe_p, roe_q, roe_offsets,
    sqrt_s, largest_roe_momentum, out,
):  # fmt: skip
    """Every column of every candidate into ``out``, shape (N_COLUMNS, n); arrays as in ``Particles``."""
    n_sig, n_roe = _longest(sig_offsets), _longest(roe_offsets)
    n_primary = _longest(primary_offsets)
    v, q = np.empty((n_sig + n_roe, 7)), np.empty(n_sig + n_roe)
    w, qw = np.empty((n_primary, 7)), np.empty(n_primary)
    missing = np.empty((1, 7))
    axis_b, axis_o = np.empty(3), np.empty(3)
    oo, ksfw = np.empty(N_ORDERS), np.empty(N_KSFW)
    fw = np.empty(N_ORDERS)
    for c in range(len(sig_offsets) - 1):
        # The candidate's particles come first, those of the rest of the event after them.
        b = _fill(sig_p, sig_q, sig_offsets[c], sig_offsets[c + 1], np.inf, v, q)
        start, stop = roe_offsets[c], roe_offsets[c + 1]
        n = b + _fill(roe_p, roe_q, start, stop, largest_roe_momentum, v[b:], q[b:])
        out[THRUST_B, c] = thrust_axis(v[:b], axis_b)
        out[THRUST_O, c] = thrust_axis(v[b:n], axis_o)
        cosine = axis_b[0] * axis_o[0] + axis_b[1] * axis_o[1] + axis_b[2] * axis_o[2]
        out[COS_TBTO, c] = min(abs(cosine), 1.0) if 0 < b < n else np.nan
        out[COS_TBZ, c] = axis_b[2] if b else np.nan

        fw[:] = 0.0
        oo[:] = 0.0
        for i in range(n):
            fw += v[i, 6] ** 2
            for j in range(i):
                p1, p2, p3, p4 = _legendre(v, i, v, j)
                p = v[i, 6] * v[j, 6]
                fw[0] += 2 * p
                fw[1] += 2 * p * p1
                fw[2] += 2 * p * p2
                fw[3] += 2 * p * p3
                fw[4] += 2 * p * p4
                if j >= b:
                    charges = p * q[i] * q[j]
                    oo[0] += p
                    oo[1] += charges * p1
                    oo[2] += p * p2
                    oo[3] += charges * p3
                    oo[4] += p * p4
        for k in range(1, N_ORDERS):
            out[R1 + k - 1, c] = fw[k] / fw[0] if n else np.nan

        out[CONES : CONES + 2 * N_CONES, c] = 0.0
        out[TENSOR : TENSOR + 6, c] = 0.0
        squares = 0.0
        for i in range(n):
            if b:
                cone = _cone(axis_b[0] * v[i, 3] + axis_b[1] * v[i, 4] + axis_b[2] * v[i, 5])
                out[CONES + cone, c] += v[i, 6]
                if i >= b:
                    out[CONES_ROE + cone, c] += v[i, 6]
            squares += v[i, 6] ** 2
            out[TENSOR, c] += v[i, 0] * v[i, 0]
            out[TENSOR + 1, c] += v[i, 0] * v[i, 1]
            out[TENSOR + 2, c] += v[i, 0] * v[i, 2]
            out[TENSOR + 3, c] += v[i, 1] * v[i, 1]
            out[TENSOR + 4, c] += v[i, 1] * v[i, 2]
            out[TENSOR + 5, c] += v[i, 2] * v[i, 2]
        for k in range(6):
            out[TENSOR + k, c] = out[TENSOR + k, c] / squares if n else np.nan
        if b == 0:
            out[CONES : CONES + 2 * N_CONES, c] = np.nan

        x, y, z, energy, et = _sums(roe_p, start, stop, largest_roe_momentum)
        sx, sy, sz, s_energy, s_et = _sums(sig_p, sig_offsets[c], sig_offsets[c + 1], np.inf)
        out[VISIBLE, c] = energy + s_energy
        out[VISIBLE + 1, c] = x + sx
        out[VISIBLE + 2, c] = y + sy
        out[VISIBLE + 3, c] = z + sz
        px, py, pz, p_energy, p_et = _sums(primary_p, primary_offsets[c], primary_offsets[c + 1], np.inf)
        maximum = 2 * (sqrt_s - p_energy)

        _missing(x + sx, y + sy, z + sz, missing)
        miss_e = sqrt_s - energy - s_energy
        _ksfw(v[:b], q[:b], v[b:n], q[b:n], oo, missing, miss_e, et + s_et, maximum, ksfw)
        out[KSFW_FINAL : KSFW_FINAL + N_KSFW, c] = ksfw
        m = _fill(primary_p, primary_q, primary_offsets[c], primary_offsets[c + 1], np.inf, w, qw)
        _missing(x + px, y + py, z + pz, missing)
        miss_e = sqrt_s - energy - p_energy
        _ksfw(w[:m], qw[:m], v[b:n], q[b:n], oo, missing, miss_e, et + p_et, maximum, ksfw)
        out[KSFW_PRIMARY : KSFW_PRIMARY + N_KSFW, c] = ksfw


@numba.njit(cache=True, nogil=True)
def thrusts(p, offsets, value, axes):  # type: ignore[no-untyped-def]
    """Thrust and its axis of every candidate into ``value``, shape (n,), and ``axes``, shape (n, 3)."""
    longest = _longest(offsets)
    v, q = np.empty((longest, 7)), np.zeros(longest)
    none = np.zeros(len(p))
    for c in range(len(offsets) - 1):
        n = _fill(p, none, offsets[c], offsets[c + 1], np.inf, v, q)
        value[c] = thrust_axis(v[:n], axes[c])
