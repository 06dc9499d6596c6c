"""Expressions over branches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darksieve.datasets.expressions import Expression
from darksieve.datasets.names import BranchNames
from darksieve.errors import InputError

COLUMNS = {
    "a": np.array([1.0, -2.0, 3.5, 0.0]),
    "b": np.array([0.5, 0.25, -4.0, 0.0], dtype=np.float32),
    "k": np.array([1, 2, 3, 4], dtype=np.uint32),
    "flag": np.array([True, False, True, False]),
    "KSFWVariables__bohso00__bc": np.array([0.1, 0.2, 0.3, 0.4]),
}
A, B, K, FLAG = (COLUMNS[name].astype(np.float64) for name in ("a", "b", "k", "flag"))
H = COLUMNS["KSFWVariables__bohso00__bc"]

EXAMPLES = [
    ("a > 0", A > 0),
    ("a + b * k - 1", A + B * K - 1),
    ("-a ** 2", -(A**2)),
    ("2 ** -k", 2.0**-K),
    ("2 ** 3 ** 2 + 0 * a", np.full(4, 512.0)),
    ("a % 2", A % 2),
    ("a / b", np.array([2.0, -8.0, -0.875, np.nan])),
    ("not a > 0", ~(A > 0)),
    ("a > 0 or b > 0 and k == 1", (A > 0) | ((B > 0) & (K == 1))),
    ("(a > 0 or b > 0) and k == 1", ((A > 0) | (B > 0)) & (K == 1)),
    ("-1 < a <= 3.5 != k", (A > -1) & (A <= 3.5) & (K != 3.5)),
    ("abs(a)", np.abs(A)),
    ("min(a, b, k)", np.minimum(np.minimum(A, B), K)),
    ("max(a, 1e-1)", np.maximum(A, 0.1)),
    ("exp(log(k)) + sqrt(k * k)", 2 * K),
    ("KSFWVariables(hso00) > .15", H > 0.15),
    ("`KSFWVariables__bohso00__bc` > .15", H > 0.15),
    ("KSFWVariables( hso00 ) * 2", 2 * H),
    ("flag", COLUMNS["flag"]),
    ("flag + flag", 2 * FLAG),
    ("(a > 0) + (b > 0) >= 1", (A > 0) | (B > 0)),
    ("True", np.full(4, True)),
    ("not True or False", np.full(4, False)),
    ("2", np.full(4, 2.0)),
    ("not 0", np.full(4, True)),
    ("a and flag", (A != 0) & COLUMNS["flag"]),
    ("k - 2 < 0", K < 2),  # unsigned integers do not wrap around
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_expression_gives_what_numpy_gives(text, expected):
    result = Expression(text).evaluate(COLUMNS)
    assert result.shape == (4,)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result.astype(float), expected.astype(float), rtol=1e-12)


def test_branches_are_listed_once_in_order_as_written():
    text = "KSFWVariables(hso00) > 0 and useCMSFrame(p) < a and a > 1 and daughter(0, p) > 0"
    assert Expression(text).branches == ("KSFWVariables(hso00)", "useCMSFrame(p)", "a", "daughter(0, p)")


def test_names_in_backticks_may_hold_anything_else():
    assert Expression("`B.M [GeV]` > 1 and `R2` < 1").branches == ("B.M [GeV]", "R2")


def test_function_names_are_functions_and_everything_else_is_a_branch():
    assert Expression("abs(a) + sin(a)").branches == ("a", "sin(a)")


def test_nan_fails_comparisons_and_is_not_true():
    columns = {"isSignal": np.array([1.0, 0.0, np.nan])}
    np.testing.assert_array_equal(Expression("isSignal == 1").select(columns), [True, False, False])
    np.testing.assert_array_equal(Expression("isSignal").select(columns), [True, False, False])
    np.testing.assert_array_equal(Expression("isSignal and True").select(columns), [True, False, False])


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 1, "empty"),
        ("a >", 4, "it ends here"),
        ("a b", 3, "not expected"),
        ("a andd b", 3, "did you mean 'and'"),
        ("a = 1", 3, "write '=='"),
        ("a && b", 3, "write 'and'"),
        ("a | b", 3, "write 'or'"),
        ("!a", 1, "write 'not'"),
        ("a ^ 2", 3, "write '\\*\\*'"),
        ("(a > 1", 7, "'\\)' is missing"),
        ("a > 1)", 6, "not expected"),
        ("useCMSFrame(p", 12, "never closed"),
        ("max(a)", 1, "two arguments or more"),
        ("abs(a, b)", 1, "one argument"),
        ("abs > 1", 5, "in brackets"),
        ("1.2.3", 1, "not a number"),
        ("2x", 1, "not a number"),
        ("a > 'x'", 5, "means nothing"),
        ("a.b", 2, "backticks"),
        ("lambda: 1", 7, "means nothing"),
        ("a if b else k", 3, "not expected"),
        ("(" * 200 + "a" + ")" * 200, 32, "nested"),
        ("not " * 200 + "a", 125, "nested"),
        ("-" * 200 + "a", 32, "nested"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_position(text, position, message):
    with pytest.raises(InputError, match=f"(?s)character {position}: .*{message}"):
        Expression(text)


def test_expression_must_be_text():
    with pytest.raises(InputError, match="text"):
        Expression(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "__builtins__",
        "open(a)",
        "np",
        "eval(a)",
        "exec(a)",
        "globals()",
        "self",
        "getattr(a, b)",
    ],
)
def test_nothing_outside_the_branches_is_reachable(text):
    with pytest.raises(InputError, match="has no branch"):
        Expression(text).evaluate(COLUMNS)


def test_missing_branch_is_named_with_its_place_and_the_nearest():
    with pytest.raises(
        InputError, match=r"character 9: f.root:t has no branch 'thrustBm'; did you mean 'thrustOm'"
    ):
        Expression("R2 > 0 +thrustBm").check(BranchNames(["R2", "thrustOm"], "f.root:t"))


def test_branches_of_text_are_refused():
    with pytest.raises(InputError, match="no single numbers"):
        Expression("a > 1").evaluate({"a": np.array(["x"])})


def test_thousands_of_terms_are_no_problem():
    np.testing.assert_array_equal(Expression("+".join(["a"] * 5000)).evaluate(COLUMNS), 5000 * A)


def test_columns_are_not_changed():
    columns = {"a": A.copy()}
    Expression("-a").evaluate(columns)
    Expression("a").evaluate(columns)
    np.testing.assert_array_equal(columns["a"], A)


# An expression as text, and the same computed by numpy directly.
_LEAVES = st.sampled_from(
    [
        ("a", A),
        ("b", B),
        ("k", K),
        ("KSFWVariables(hso00)", H),
        ("0.5", np.full(4, 0.5)),
        ("3", np.full(4, 3.0)),
    ]
)


def _numbers(inner):
    binary = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
    pairs = st.tuples(st.sampled_from(sorted(binary)), inner, inner)
    unary = {"abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log}
    return st.one_of(
        pairs.map(lambda t: (f"({t[1][0]} {t[0]} {t[2][0]})", binary[t[0]](t[1][1], t[2][1]))),
        st.tuples(inner, inner).map(lambda t: (f"min({t[0][0]},{t[1][0]})", np.minimum(t[0][1], t[1][1]))),
        st.tuples(st.sampled_from(sorted(unary)), inner).map(
            lambda t: (f"{t[0]}({t[1][0]})", unary[t[0]](t[1][1]))
        ),
        inner.map(lambda t: (f"-{t[0]}", -t[1])),
    )


def _conditions(numbers):
    compare = {"<": np.less, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal}
    leaf = st.tuples(st.sampled_from(sorted(compare)), numbers, numbers).map(
        lambda t: (f"{t[1][0]} {t[0]} {t[2][0]}", compare[t[0]](t[1][1], t[2][1]))
    )

    def combined(inner):
        return st.one_of(
            st.tuples(inner, inner).map(lambda t: (f"({t[0][0]} and {t[1][0]})", t[0][1] & t[1][1])),
            st.tuples(inner, inner).map(lambda t: (f"({t[0][0]} or {t[1][0]})", t[0][1] | t[1][1])),
            inner.map(lambda t: (f"(not ({t[0]}))", ~t[1])),
        )

    return st.recursive(leaf, combined, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_expressions_agree_with_numpy(data):
    with np.errstate(all="ignore"):
        text, expected = data.draw(_conditions(st.recursive(_LEAVES, _numbers, max_leaves=6)))
    np.testing.assert_array_equal(Expression(text).evaluate(COLUMNS), expected)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text(alphabet="ab k()<>=+-*/.,`0123456789 andornot", max_size=30))
def test_any_text_is_an_expression_or_one_clear_error(text):
    names = BranchNames(COLUMNS, "columns")
    try:
        expression = Expression(text)
    except InputError:
        return
    if all(name in names for name in expression.branches):
        assert expression.evaluate(COLUMNS).shape == (4,)
    else:
        with pytest.raises(InputError, match="has no branch"):
            expression.evaluate(COLUMNS)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(4)))
def test_order_of_rows_does_not_matter(order):
    expression = Expression("a * k > b or flag")
    permuted = {name: values[list(order)] for name, values in COLUMNS.items()}
    np.testing.assert_array_equal(expression.evaluate(permuted), expression.evaluate(COLUMNS)[list(order)])
