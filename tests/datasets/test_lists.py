"""Lists of numbers, one per row, and what reduces them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darksieve.datasets.expressions import Expression
from darksieve.datasets.lists import Lists
from darksieve.errors import InputError

NUMBERS = st.integers(-1000, 1000).map(float)
ROWS = st.lists(st.lists(NUMBERS, max_size=6), min_size=1, max_size=20)
BY_HAND = {
    "count": len,
    "sum": sum,
    "mean": lambda row: sum(row) / len(row) if row else np.nan,
    "min_of": lambda row: min(row, default=np.nan),
    "max_of": lambda row: max(row, default=np.nan),
    "first": lambda row: row[0] if row else np.nan,
}


def lists(rows):
    flat = np.array([number for row in rows for number in row])
    return Lists.from_counts(flat, np.array([len(row) for row in rows]))


@pytest.mark.parametrize("name", BY_HAND)
@given(rows=ROWS)
def test_reductions_are_those_of_each_row_alone(name, rows):
    values = Expression(f"{name}(x)").evaluate({"x": lists(rows)})
    np.testing.assert_allclose(values, [BY_HAND[name](row) for row in rows], rtol=1e-12)


@given(rows=ROWS, data=st.data())
def test_taking_rows_and_reducing_may_be_swapped(rows, data):
    positions = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)), dtype=np.intp)
    whole = lists(rows)
    np.testing.assert_array_equal(whole.take(positions).sum(), whole.sum()[positions])
    start = data.draw(st.integers(0, len(rows)))
    np.testing.assert_array_equal(whole.part(start, len(rows)).sum(), whole.sum()[start:])


@given(rows=ROWS)
def test_conditions_inside_a_reduction_select_elements(rows):
    columns = {"E": lists(rows), "cut": np.arange(len(rows)) * 10.0}
    selected = [[e for e in row if e > 10 * i] for i, row in enumerate(rows)]
    np.testing.assert_allclose(
        Expression("sum(E * (E > cut))").evaluate(columns), [sum(row) for row in selected], rtol=1e-12
    )
    np.testing.assert_array_equal(
        Expression("count(E > cut)").evaluate(columns), [len(row) for row in selected]
    )


def test_a_reduction_is_part_of_a_larger_expression():
    columns = {"E": lists([[1.0, 2.0], [], [0.5]]), "n": np.array([1.0, 2.0, 3.0])}
    expression = Expression("sum(abs(-E)) < 2 and n > 1 or max_of(E) == 2")
    np.testing.assert_array_equal(expression.select(columns), [True, True, True])
    assert expression.branches == ("E", "n")
    assert expression.list_branches == ("E",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("E > 1", r"character 1: 'E' holds a list per row; reduce it by one of count, sum"),
        ("sum(E) + E", r"character 10: 'E' holds a list per row"),
        ("sum(n)", "character 1: sum reduces a list per row; its argument holds none"),
        ("sum(3)", "sum reduces a list per row"),
        ("max(E)", "max takes two arguments or more, not 1; max_of reduces a list"),
        ("sum(E, n)", "sum takes one argument, not 2"),
        ("sum(max_of(E))", "character 5: max_of stands inside another reduction"),
    ],
)
def test_what_is_no_reduction_of_a_list_is_refused_with_its_position(text, message):
    columns = {"E": lists([[1.0], []]), "n": np.ones(2)}
    with pytest.raises(InputError, match=message):
        Expression(text).evaluate(columns)


def test_the_check_finds_the_same_without_rows():
    Expression("sum(E) > n").check_lists({"E"})
    with pytest.raises(InputError, match="'E' holds a list per row"):
        Expression("E > n").check_lists({"E"})
    with pytest.raises(InputError, match="sum reduces a list per row"):
        Expression("sum(E) > n").check_lists(())


def test_lists_of_different_lengths_are_not_combined():
    columns = {"E": lists([[1.0], [2.0]]), "p": lists([[1.0], [2.0, 3.0]])}
    with pytest.raises(InputError, match="different lengths are combined, 1 and 2 numbers in row 1"):
        Expression("sum(E * p)").evaluate(columns)


def test_a_branch_may_have_the_name_of_a_reduction():
    columns = {"first": np.array([1.0, 2.0]), "count": np.array([3.0, 4.0])}
    np.testing.assert_array_equal(Expression("first + count").evaluate(columns), [4, 6])


def test_offsets_that_do_not_divide_the_values_are_refused():
    with pytest.raises(ValueError, match="offsets do not go from 0 to the number of values, 3"):
        Lists(np.zeros(3), np.array([0, 2]))
