//! A chain of elementwise calls as plain data, and the kernel around it: one
//! pass over memory, each value loaded once, each op one `let`.
//!
//! The text says which functions are called on what, and how each operand is
//! read; sizes, strides and settings are parameters, so that layers of all
//! sizes share a pipeline.

use super::KernelSource;
use super::access::Access;
use super::chain_text;
use crate::graph::MapCall;

/// Invocations of a workgroup.
pub(super) const WG_SIZE: u64 = 64;

/// What a call is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Argument {
    /// Load number i.
    Load(usize),
    /// The value of link number i, an earlier one.
    Link(usize),
}

/// One call of an elementwise function.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub call: MapCall,
    pub arguments: Vec<Argument>,
    /// One value for all elements, computed once for four of them.
    pub single: bool,
}

/// Calls in order, what they load, which of their values are stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// How each operand is read: one buffer a load.
    pub loads: Vec<Access>,
    pub links: Vec<Link>,
    /// The links whose values are stored, each in a buffer of its own. None of
    /// them is `single`.
    pub stores: Vec<usize>,
    /// Elements of the output.
    pub elements: usize,
}

/// A kernel with its parameters and size.
pub(super) struct Made {
    pub kernel: KernelSource,
    pub params: Vec<u32>,
    pub workgroups: u64,
}

impl Chain {
    /// The kernel that computes the chain. Its bindings: parameters, loads,
    /// stores.
    pub fn kernel(&self) -> Made {
        // Four elements an invocation; buffers are whole blocks of four.
        let items = self.elements.div_ceil(4);
        Made {
            kernel: KernelSource {
                label: self.label(),
                entry: "main".to_string(),
                source: chain_text::kernel(self),
                reads: self.loads.len(),
                images: Vec::new(),
                writes: self.stores.len(),
            },
            params: self.params(items as u32, self.is_kept()),
            workgroups: (items as u64).div_ceil(WG_SIZE),
        }
    }

    /// Whether a link's value is passed on to another.
    pub fn is_kept(&self) -> bool {
        (0..self.links.len()).any(|link| self.is_passed_on(link))
    }

    /// Whether the value of a link is passed on to another.
    pub fn is_passed_on(&self, link: usize) -> bool {
        let argument = Argument::Link(link);
        let later = self.links.iter().skip(link + 1);
        later.flat_map(|l| &l.arguments).any(|a| *a == argument)
    }

    /// The words of the text's `Params`: `first`, a zero if
    /// values are `kept`, the settings of the links,
    /// the numbers of the loads; then what lies in blocks of four.
    pub fn params(&self, first: u32, kept: bool) -> Vec<u32> {
        let mut words = vec![first];
        words.extend(kept.then_some(0));
        let settings = self.links.iter().filter_map(|link| link.call.constant);
        words.extend(settings.map(f32::to_bits));
        let mut blocks = Vec::new();
        for access in &self.loads {
            let (word, block) = access.params();
            words.extend(word);
            blocks.extend(block);
        }
        words.resize(words.len().next_multiple_of(4), 0);
        words.extend(blocks);
        words
    }

    /// `add+relu.sR`: the functions, then how each operand is read.
    fn label(&self) -> String {
        let reads: String = self.loads.iter().map(Access::letter).collect();
        format!("{}.{reads}", self.names())
    }

    /// `add+relu`: the functions, or how many there are.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.links.iter().map(|link| link.call.function).collect();
        match names[..] {
            [first, .., last] if names.len() > 4 => {
                format!("{first}+{}+{last}", names.len() - 2)
            }
            _ => names.join("+"),
        }
    }
}
