"""Neighbours by text are the nearest by a plain sort of all cosines, whatever the size of a tile."""

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError
from recsys.training import neighbours as neighbours_module
from recsys.training.neighbours import nearest_by_text
from tests.data.worlds import refused, small

corners = st.lists(
    st.tuples(
        st.lists(st.sampled_from([-0.5, 0.5]), min_size=4, max_size=4), st.sampled_from([0.25, 1.0, 8.0]), st.booleans()
    ),
    min_size=2,
    max_size=15,
)
"""Vectors whose cosines are exact, −1, −0.5, 0, 0.5 or 1, with many ties; their lengths differ, and some are unknown."""


@small
@given(corners, st.integers(1, 6), st.integers(1, 5))
def test_neighbours_are_the_highest_cosines_with_ties_by_row_whatever_the_tile(items, m, tile):
    vectors = np.array([np.array(corner) * length for corner, length, _ in items], dtype=np.float32)
    known = np.array([one for *_, one in items])
    rows = np.flatnonzero(known).tolist()
    with patch.object(neighbours_module, "_TILE", tile):
        if m >= len(rows):
            with refused("neighbours", m, error=ConfigError):
                nearest_by_text(vectors, known, m)
            return
        found = nearest_by_text(vectors, known, m)
    assert found.dtype == np.int32
    for row, (corner, _, has_text) in enumerate(items):
        others = sorted((-np.dot(corner, items[other][0]), other) for other in rows if other != row)
        assert found[row].tolist() == ([other for _, other in others[:m]] if has_text else [row] * m)


def test_neighbours_of_ordinary_vectors_are_the_nearest_to_five_decimals():
    vectors = np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32)
    with patch.object(neighbours_module, "_TILE", 64):
        found = nearest_by_text(vectors, np.ones(300, dtype=bool), 7)
    units = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    best = -np.sort(-cosines, axis=1)[:, :7]
    np.testing.assert_allclose(np.take_along_axis(cosines, found.astype(np.int64), axis=1), best, atol=1.1e-5)
    assert all(len(set(own)) == 7 for own in found.tolist())


def test_items_of_one_direction_are_each_others_nearest_in_row_order():
    """Though their lengths differ, so that their cosines are 1 but for the rounding."""
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 20, 400)
    vectors = generator.normal(size=(20, 33)).astype(np.float32)[kind] * generator.uniform(0.1, 9.0, (400, 1)).astype(
        np.float32
    )
    with patch.object(neighbours_module, "_TILE", 61):
        found = nearest_by_text(vectors, np.ones(400, dtype=bool), 4)
    for row in range(400):
        assert found[row].tolist() == [other for other in np.flatnonzero(kind == kind[row]).tolist() if other != row][:4]


def test_vectors_that_have_no_direction_are_refused():
    vectors = np.ones((4, 2), dtype=np.float32)
    for bad in (0.0, np.nan, np.inf):
        vectors[2] = bad
        with refused("row 2"):
            nearest_by_text(vectors, np.ones(4, dtype=bool), 1)
        assert nearest_by_text(vectors, np.arange(4) != 2, 1).tolist() == [[1], [0], [2], [0]]
    with refused("(4, 2)", "(3,)"):
        nearest_by_text(vectors, np.ones(3, dtype=bool), 1)
