//! The phases of a workgroup program as plain data: which kernel text does each,
//! what it costs, and how deep its sums are.

use crate::error::Result;
use crate::graph::{Graph, Meaning, NodeId, Precision};
use crate::ops::{matmul, reduce};
use crate::plan::chain::Chain;
use crate::plan::fuse::{self, Group};
use crate::plan::nodes::Nodes;
use crate::plan::rows::Lanes;

/// One op, or a group of elementwise ops.
pub(super) struct Phase {
    /// The nodes that it computes.
    pub members: Vec<NodeId>,
    /// The holders of what it reads, operand by operand.
    pub reads: Vec<NodeId>,
    /// The nodes whose values it stores.
    pub writes: Vec<NodeId>,
    pub work: Work,
}

pub(super) enum Work {
    Product(Product),
    Sum(Sum),
    Chain(Chain),
}

/// C = op(A) op(B), both matrices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub form: ProductForm,
}

/// How a product is shared out among the lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProductForm {
    /// The lanes, one subgroup, make a tile of four rows and four columns a lane.
    Subgroup,
    /// Four rows by four columns a lane.
    Tile,
    /// Four neighbours of a row a lane, as one sum of up to four products; those
    /// of B lie side by side.
    Short,
    /// The same for a longer inner axis.
    Wide,
    /// Four elements a lane; both operands lie along the inner axis.
    Dot,
    /// Four elements a lane, by strides.
    Scalar,
}

/// A sum over axes of a tensor. Axes are (size, stride), outermost first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sum {
    pub kept: Vec<(usize, usize)>,
    pub reduced: Vec<(usize, usize)>,
    pub outputs: usize,
    pub terms: usize,
    pub divisor: usize,
    pub form: SumForm,
}

/// How a sum is shared out among the lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SumForm {
    /// Over leading axes: four neighbours a lane.
    Wide,
    /// Of all elements: all lanes together.
    All,
    /// Four outputs a lane, by strides.
    Scalar,
}

/// Below this many rows or columns a tile of the subgroup is mostly empty.
const LEAST_TILE: usize = 16;

impl Phase {
    /// A group of elementwise ops.
    pub fn chain(graph: &Graph, nodes: &Nodes<'_>, group: &Group) -> Result<Option<Phase>> {
        let (chain, reads) = fuse::chain(graph, nodes, group)?;
        Ok((chain.elements > 0).then(|| Phase {
            members: group.members.clone(),
            reads,
            writes: group.stores.clone(),
            work: Work::Chain(chain),
        }))
    }

    /// An op with kernels of its own.
    pub fn calls(
        graph: &Graph,
        nodes: &Nodes<'_>,
        id: NodeId,
        meaning: &Meaning,
        lanes: Lanes,
    ) -> Result<Option<Phase>> {
        let inputs = nodes.inputs(id);
        let mut dims = Vec::with_capacity(inputs.len());
        for &input in inputs {
            dims.push(graph.shape(input)?.dims());
        }
        let work = match (meaning, &dims[..]) {
            (
                Meaning::Product {
                    transpose_a,
                    transpose_b,
                    // Rounded operands are for kernels of their own.
                    precision: Precision::F32,
                },
                [a, b],
            ) => Product::new(a, b, *transpose_a, *transpose_b, lanes).map(Work::Product),
            (Meaning::Sum { axes, divisor }, [x]) => Sum::new(x, axes, *divisor).map(Work::Sum),
            _ => None,
        };
        Ok(work.map(|work| Phase {
            members: vec![id],
            reads: inputs.iter().map(|&input| nodes.holder(input)).collect(),
            writes: vec![id],
            work,
        }))
    }

    /// Numbers that its function is given after the places of its values.
    pub fn settings(&self) -> Vec<f32> {
        match &self.work {
            Work::Product(_) => Vec::new(),
            Work::Sum(s) => vec![s.divisor as f32],
            Work::Chain(chain) => chain.links.iter().filter_map(|l| l.call.constant).collect(),
        }
    }

    /// What it takes, in multiply-adds of a fast product.
    pub fn cost(&self, lanes: Lanes) -> usize {
        match &self.work {
            Work::Product(p) => p.cost(lanes),
            Work::Sum(s) => s.outputs * s.terms * if s.form == SumForm::Scalar { 16 } else { 2 },
            Work::Chain(chain) => {
                let links = chain.links.iter().map(|l| fuse::weight(&l.call));
                chain.elements * 4 * (links.sum::<usize>() + chain.loads.len())
            }
        }
    }

    /// The length of its text, in lines or so.
    pub fn weight(&self, lanes: Lanes) -> usize {
        match &self.work {
            Work::Product(p) => match p.form {
                ProductForm::Subgroup => 6 * p.row_lanes(lanes),
                ProductForm::Tile => 24,
                _ => 12,
            },
            Work::Sum(_) => 12,
            Work::Chain(chain) => {
                let links = chain.links.iter().map(|l| fuse::weight(&l.call));
                4 * links.sum::<usize>()
            }
        }
    }

    /// Iterations of all loops that one invocation makes.
    pub fn iterations(&self, lanes: Lanes) -> usize {
        let each = |items: usize| items.div_ceil(lanes.count);
        match &self.work {
            Work::Product(p) => {
                // A loop of fours in a loop of blocks.
                let inner = 1 + p.k.div_ceil(4) + p.k.div_ceil(matmul::BLOCK);
                match p.form {
                    ProductForm::Subgroup => p.tiles(lanes) * inner,
                    ProductForm::Tile => each(p.m * p.n / 16) * inner,
                    ProductForm::Short => each(p.m * p.n / 4),
                    _ => each((p.m * p.n).div_ceil(4)) * inner,
                }
            }
            Work::Sum(s) => match s.form {
                SumForm::All => nested(each(s.terms.div_ceil(4))) + 8,
                _ => each(s.outputs.div_ceil(4)) * (1 + nested(s.terms)),
            },
            Work::Chain(chain) => each(chain.elements.div_ceil(4)),
        }
    }

    /// Whether its sums are as deep as the bounds of the ops allow, or less.
    pub fn is_shallow(&self, lanes: Lanes) -> bool {
        match &self.work {
            Work::Product(p) => {
                let blocks = p.k.div_ceil(matmul::BLOCK);
                let depth = 2 + matmul::BLOCK.min(p.k).div_ceil(4) + blocks;
                depth.min(p.k) <= matmul::depth(p.k, p.m * p.n)
            }
            Work::Sum(s) => {
                let depth = match s.form {
                    // Fours of a lane, the four, the lanes.
                    SumForm::All => {
                        let own = s.terms.div_ceil(4).div_ceil(lanes.count);
                        nested_depth(own) + 2 + lanes.count.ilog2() as usize
                    }
                    _ => nested_depth(s.terms),
                };
                depth.min(s.terms.saturating_sub(1)) <= reduce::depth(s.terms)
            }
            Work::Chain(_) => true,
        }
    }
}

/// Iterations for `n` terms in blocks of 16, chunks of 16 blocks, then these.
fn nested(n: usize) -> usize {
    n + n.div_ceil(16) + n.div_ceil(256)
}

/// The longest path of a term, in additions.
fn nested_depth(n: usize) -> usize {
    let block = n.clamp(1, 16) - 1;
    let chunk = n.clamp(1, 256).div_ceil(16) - 1;
    block + chunk + n.div_ceil(256).max(1) - 1
}

impl Product {
    fn new(
        a: &[usize],
        b: &[usize],
        transpose_a: bool,
        transpose_b: bool,
        lanes: Lanes,
    ) -> Option<Product> {
        let (&[a0, a1], &[b0, b1]) = (a, b) else {
            return None; // batches of matrices
        };
        let (m, k) = if transpose_a { (a1, a0) } else { (a0, a1) };
        let n = if transpose_b { b0 } else { b1 };
        if m * n * k == 0 {
            return None;
        }
        let fours = [m, n, k].iter().all(|size| size.is_multiple_of(4));
        let beside = !transpose_b && n.is_multiple_of(4);
        let form = if beside && k <= 4 {
            ProductForm::Short
        } else if fours && lanes.subgroup && m.min(n) >= LEAST_TILE {
            ProductForm::Subgroup
        } else if fours && !lanes.subgroup && m * n / 16 >= lanes.count / 4 {
            ProductForm::Tile
        } else if beside {
            ProductForm::Wide
        } else if !transpose_a && transpose_b && k.is_multiple_of(4) {
            ProductForm::Dot
        } else {
            ProductForm::Scalar
        };
        Some(Product {
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            form,
        })
    }

    /// Tiles of the subgroup.
    pub fn tiles(&self, lanes: Lanes) -> usize {
        let side = 4 * lanes.count;
        self.m.div_ceil(side) * self.n.div_ceil(side)
    }

    /// Lanes whose rows are in the matrix, in a tile of the subgroup.
    pub fn row_lanes(&self, lanes: Lanes) -> usize {
        lanes.count.min(self.m.div_ceil(4))
    }

    fn cost(&self, lanes: Lanes) -> usize {
        let all = self.m * self.n * self.k;
        match self.form {
            ProductForm::Subgroup => {
                let tile = 4 * self.row_lanes(lanes) * 4 * lanes.count;
                self.tiles(lanes) * tile * self.k
            }
            ProductForm::Tile => all,
            ProductForm::Short | ProductForm::Wide | ProductForm::Dot => 4 * all,
            ProductForm::Scalar => 16 * all,
        }
    }
}

impl Sum {
    fn new(dims: &[usize], axes: &[usize], divisor: usize) -> Option<Sum> {
        let strides = reduce::strides(dims);
        let split = |wanted: bool| {
            let mine = (0..dims.len()).filter(|axis| axes.contains(axis) == wanted);
            reduce::merge(mine.map(|axis| (dims[axis], strides[axis])).collect())
        };
        let (kept, reduced) = (split(false), split(true));
        let count = |axes: &[(usize, usize)]| axes.iter().map(|a| a.0).product::<usize>();
        let (outputs, terms) = (count(&kept), count(&reduced));
        if outputs * terms == 0 || divisor == 0 {
            return None;
        }
        let form = match (&kept[..], &reduced[..]) {
            ([], [(_, 1)]) => SumForm::All,
            ([(n, 1)], [(_, stride)]) if n == stride && n.is_multiple_of(4) => SumForm::Wide,
            _ => SumForm::Scalar,
        };
        Some(Sum {
            kept,
            reduced,
            outputs,
            terms,
            divisor,
            form,
        })
    }
}
