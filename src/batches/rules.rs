//! What an op makes of rows, judged by how it is computed and not by its name: an
//! elementwise function, a product of matrices, a sum over axes.

use crate::graph::{Lowering, Meaning};
use crate::shape::Shape;

/// How a value depends on the rows of the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Values {
    /// Not at all.
    Shared,
    /// Not at all, and it is made of as many equal pieces as there are rows, along
    /// axis 0: a part may have its share of them, or all.
    Repeated,
    /// A piece for each row, one behind the other along axis 0.
    Rows,
    /// A sum over the rows.
    Total,
}

/// An operand of an op.
pub(super) struct Operand<'a> {
    pub values: Values,
    pub shape: &'a Shape,
}

impl Operand<'_> {
    /// Whether rows lie along axis 0, or may be taken to.
    fn in_rows(&self) -> bool {
        matches!(self.values, Values::Rows | Values::Repeated)
    }

    /// Whether the op's output has this operand's axis 0 as its own.
    fn is_aligned(&self, output: &Shape) -> bool {
        let own = self.shape.dims();
        own.len() == output.rank() && own.first() == output.dims().first()
    }

    /// Whether all of the output's axis 0 reads the same of this operand.
    fn is_for_all(&self, output: &Shape) -> bool {
        let own = self.shape.dims();
        own.len() < output.rank() || own.first() == Some(&1)
    }
}

const MIXED: &str = "mixes the rows otherwise than by a sum over all of them";
const SPREAD: &str = "reads a sum over all rows for something else than a sum";

/// What an op makes of its operands, or why that does not go by rows.
/// `may_be_cut`: the rows may lie along axis 0 of the output.
pub(super) fn of_op(
    name: &str,
    lowering: &Lowering,
    operands: &[Operand<'_>],
    output: &Shape,
    may_be_cut: bool,
) -> Result<Values, String> {
    let has = |values| operands.iter().any(|o| o.values == values);
    if has(Values::Total) {
        return of_totals(name, operands).ok_or_else(|| SPREAD.to_string());
    }
    let known = match lowering {
        Lowering::View => of_view(operands, may_be_cut),
        Lowering::Map(_) => of_map(operands, output, may_be_cut),
        Lowering::Calls { meaning, .. } => match meaning {
            Meaning::Sum { axes, .. } => of_sum(axes, operands),
            Meaning::Product {
                transpose_a,
                transpose_b,
                ..
            } => of_product([*transpose_a, *transpose_b], operands, output),
        },
    };
    match known {
        Some(values) if has(Values::Rows) || values != Values::Rows => Ok(values),
        // Nothing here depends on the batch: it is computed whole.
        _ if !has(Values::Rows) => Ok(Values::Shared),
        _ => Err(MIXED.to_string()),
    }
}

/// Whether an op that is there by rows reads the rows of an operand that is the
/// same for each, or all of it.
pub(super) fn reads_rows(
    lowering: &Lowering,
    operands: &[Operand<'_>],
    place: usize,
    output: &Shape,
) -> bool {
    if operands.iter().any(|o| o.values == Values::Total) {
        return false;
    }
    let own = &operands[place];
    match lowering {
        Lowering::View => true,
        Lowering::Map(_) => own.is_aligned(output),
        Lowering::Calls { meaning, .. } => match meaning {
            Meaning::Sum { .. } => true,
            Meaning::Product { .. } if output.rank() > 2 => own.is_aligned(output),
            // Along the inner axis, or as A; what each row is multiplied with is whole.
            Meaning::Product { transpose_a, .. } => *transpose_a || place == 0,
        },
    }
}

/// What is linear in sums over the rows, without an offset, is one, too.
fn of_totals(name: &str, operands: &[Operand<'_>]) -> Option<Values> {
    let totals = operands.iter().filter(|o| o.values == Values::Total);
    let (totals, all) = (totals.count(), operands.len());
    let others_are_shared = operands
        .iter()
        .all(|o| matches!(o.values, Values::Total | Values::Shared | Values::Repeated));
    let linear = match name {
        "add" | "sub" => totals == all,
        "neg" | "scale" | "reshape" | "expand" | "sum" | "mean" => true,
        "mul" | "matmul" => totals == 1,
        _ => false,
    };
    (linear && others_are_shared).then_some(Values::Total)
}

/// The same elements under another shape.
fn of_view(operands: &[Operand<'_>], may_be_cut: bool) -> Option<Values> {
    match operands {
        [only] if only.in_rows() && may_be_cut => Some(only.values),
        [only] if only.values == Values::Repeated => Some(Values::Shared),
        [only] if only.values == Values::Shared => Some(Values::Shared),
        _ => None,
    }
}

/// One element of each operand for one of the output.
fn of_map(operands: &[Operand<'_>], output: &Shape, may_be_cut: bool) -> Option<Values> {
    let goes_by_rows = |o: &Operand<'_>| {
        let shared = o.is_for_all(output) && o.values != Values::Rows;
        shared || (o.in_rows() && o.is_aligned(output))
    };
    if !may_be_cut || !operands.iter().all(goes_by_rows) {
        return None;
    }
    Some(match operands.iter().any(|o| o.values == Values::Rows) {
        true => Values::Rows,
        false => Values::Repeated,
    })
}

/// A sum over axes.
fn of_sum(axes: &[usize], operands: &[Operand<'_>]) -> Option<Values> {
    match operands {
        [only] if only.values == Values::Rows => Some(match axes.contains(&0) {
            true => Values::Total,
            false => Values::Rows,
        }),
        [only] if only.values == Values::Repeated && !axes.contains(&0) => Some(Values::Repeated),
        _ => None,
    }
}

/// A product of matrices over the last two axes.
fn of_product(transposed: [bool; 2], operands: &[Operand<'_>], output: &Shape) -> Option<Values> {
    let [a, b] = operands else { return None };
    let is_matrix = |o: &Operand<'_>| o.shape.rank() == 2;
    if a.values != Values::Rows && b.values != Values::Rows {
        let is_repeated = a.values == Values::Repeated && is_matrix(a) && is_matrix(b);
        return (is_repeated && !transposed[0]).then_some(Values::Repeated);
    }
    // Matrices side by side, one or more for each row.
    let by_matrices = |o: &Operand<'_>| {
        let own = o.shape.rank() > 2 && o.in_rows() && o.is_aligned(output);
        own || (o.values != Values::Rows && o.is_for_all(output))
    };
    if output.rank() > 2 && by_matrices(a) && by_matrices(b) {
        return Some(Values::Rows);
    }
    match transposed {
        // Each row of A with all of B.
        [false, _] if is_matrix(a) && is_matrix(b) && b.values != Values::Rows => {
            (a.values == Values::Rows).then_some(Values::Rows)
        }
        // The inner axis is the batch.
        [true, false] if is_matrix(a) && is_matrix(b) && a.in_rows() && b.in_rows() => {
            Some(Values::Total)
        }
        _ => None,
    }
}
