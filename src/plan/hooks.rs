//! A kernel written by hand, with the functions of ops that are computed as it
//! reads (prologues) and as it stores (an epilogue) in their places.

use super::KernelSource;
use super::chain_text::{self, Hook};
use super::epilogue::Epilogue;
use super::prologue::Prologue;
use super::wgsl::join;
use crate::error::{Error, Result};
use crate::graph::{Call, NodeId};
use crate::ops::shader_lib::EPILOGUE;
use crate::ops::template;

/// The names of an operand's prologue: its functions, their parameters, what its
/// buffers start with; the setting that tells of one, and the one that says whether
/// the operand is read at multiples of four.
struct Names {
    function: &'static str,
    params: &'static str,
    x: &'static str,
    setting: &'static str,
    fours: &'static str,
}

const OPERANDS: [Names; 2] = [
    Names {
        function: "prologue_a",
        params: "PrologueA",
        x: "pa",
        setting: "PROLOGUE_A",
        fours: "A_FOURS",
    },
    Names {
        function: "prologue_b",
        params: "PrologueB",
        x: "pb",
        setting: "PROLOGUE_B",
        fours: "B_FOURS",
    },
];

/// Whether a kernel reads its first or second operand always four elements at once,
/// which begin at a multiple of four.
pub(super) fn reads_fours(call: &Call, operand: usize) -> bool {
    let Some(names) = OPERANDS.get(operand) else {
        return false;
    };
    let settings = &call.kernel.settings;
    settings
        .iter()
        .any(|&(n, value)| n == names.fours && value != 0)
}

/// What is computed in the kernel of a call besides its own op.
pub(super) struct Hooks<'a> {
    call: &'a Call,
    /// Of the first and the second buffer that it reads.
    prologues: [Option<&'a Prologue>; 2],
    epilogue: Option<&'a Epilogue>,
}

impl<'a> Hooks<'a> {
    /// `prologues` and `epilogue` are those of the call's op; whether they belong
    /// to this call is found here.
    pub fn new(
        call: &'a Call,
        prologues: &'a [Prologue],
        epilogue: Option<&'a Epilogue>,
    ) -> Hooks<'a> {
        let of = |operand: usize| {
            let input = *call.inputs.get(operand)?;
            call.repeats?;
            prologues.iter().find(|p| p.operand == input)
        };
        Hooks {
            call,
            prologues: [of(0), of(1)],
            epilogue: epilogue.filter(|e| e.ends(call)),
        }
    }

    /// What the call reads in place of its input number `operand`.
    pub fn given(&self, operand: usize) -> Option<NodeId> {
        let prologue = self.prologues.get(operand).copied().flatten()?;
        Some(prologue.given_by)
    }

    /// The buffers that it reads besides its inputs, in order.
    pub fn reads(&self) -> impl Iterator<Item = NodeId> {
        let first = self.prologues.into_iter().flatten().flat_map(|p| &p.reads);
        let last = self.epilogue.into_iter().flat_map(|e| &e.reads);
        first.chain(last).copied()
    }

    /// The nodes that the call computes, `own` that of its op, in order.
    pub fn nodes(&self, own: NodeId) -> Vec<NodeId> {
        let prologues = self.prologues.into_iter().flatten();
        let first = prologues.flat_map(|p| &p.members).copied();
        let last = self.epilogue.into_iter().flat_map(|e| &e.members).copied();
        first.chain([own]).chain(last).collect()
    }

    /// The words of `Params`.
    pub fn params(&self) -> Vec<u32> {
        let mut params = self.call.params.clone();
        for hook in self.hooks() {
            params.resize(params.len().next_multiple_of(4), 0);
            params.extend(hook.chain.params(hook.chain.elements as u32, true));
        }
        params
    }

    fn hooks(&self) -> Vec<Hook<'_>> {
        let operands = self.prologues.iter().zip(&OPERANDS).enumerate();
        let mut hooks: Vec<Hook<'_>> = operands
            .filter_map(|(operand, (prologue, names))| {
                let prologue = (*prologue)?;
                Some(Hook {
                    chain: &prologue.chain,
                    given: prologue.given,
                    name: names.function,
                    params: names.params,
                    x: names.x,
                    aligned: reads_fours(self.call, operand),
                    first: true,
                })
            })
            .collect();
        hooks.extend(self.epilogue.map(|epilogue| Hook {
            chain: &epilogue.chain,
            given: epilogue.given,
            name: "epilogue",
            params: "Epilogue",
            x: "ex",
            aligned: true,
            first: false,
        }));
        hooks
    }

    /// `neg(a)+relu(b)+matmul_tiled+add+relu`: what becomes of the first and of the
    /// second operand, the kernel's own name, and what follows.
    fn label(&self) -> String {
        let mut label = String::new();
        for (prologue, name) in self.prologues.iter().zip(["a", "b"]) {
            if let Some(prologue) = prologue {
                label += &format!("{}({name})+", prologue.chain.names());
            }
        }
        label += self.call.kernel.entry;
        if let Some(epilogue) = self.epilogue {
            label += &format!("+{}", epilogue.chain.names());
        }
        label
    }

    /// The call's kernel: with the functions, room for their parameters, and the
    /// output after the buffers that they read.
    pub fn kernel(&self) -> Result<KernelSource> {
        let kernel = &self.call.kernel;
        let hooks = self.hooks();
        let functions = chain_text::hooks(&hooks, self.call.inputs.len() + 1);
        // Lines that enable something come first, so not before all others.
        let mut parts = Vec::with_capacity(kernel.libs.len() + 1);
        for &lib in kernel.libs {
            if lib == EPILOGUE && !hooks.is_empty() {
                parts.push(functions.as_str());
            }
            if lib != EPILOGUE || self.epilogue.is_none() {
                parts.push(lib);
            }
        }
        // A kernel may store in another way where there is something to follow.
        let mut settings = kernel.settings.clone();
        settings.push(("EPILOGUE", u32::from(self.epilogue.is_some())));
        for (prologue, names) in self.prologues.iter().zip(&OPERANDS) {
            settings.push((names.setting, u32::from(prologue.is_some())));
        }
        let text = join(&parts, kernel.source);
        let expanded = template::expand(&text, &settings);
        let mut source = expanded.map_err(|e| self.wrong(&e))?;
        if !hooks.is_empty() {
            source = self.with_output_last(&source)?;
            source = self.with_params(source, &hooks)?;
        }
        Ok(KernelSource {
            label: self.label(),
            entry: kernel.entry.to_string(),
            source,
            reads: self.call.inputs.len() + self.reads().count(),
            images: kernel.images.clone(),
            writes: 1,
        })
    }

    fn wrong(&self, what: &str) -> Error {
        Error::Graph(format!("kernel `{}`: {what}", self.call.kernel.entry))
    }

    fn with_output_last(&self, source: &str) -> Result<String> {
        let output = |reads: usize| format!("@binding({}) var<storage, read_write>", reads + 1);
        let reads = self.call.inputs.len();
        let own = output(reads);
        if source.matches(&own).count() != 1 {
            return Err(self.wrong("no output after what it reads"));
        }
        Ok(source.replace(&own, &output(reads + self.reads().count())))
    }

    fn with_params(&self, mut source: String, hooks: &[Hook<'_>]) -> Result<String> {
        let end = source
            .find("struct Params {")
            .and_then(|start| Some(start + source[start..].find("\n}")? + 1))
            .ok_or_else(|| self.wrong("no struct Params"))?;
        let lines = hooks
            .iter()
            .map(|hook| format!("    @align(16) {}: {},\n", hook.name, hook.params));
        source.insert_str(end, &lines.collect::<String>());
        Ok(source)
    }
}
