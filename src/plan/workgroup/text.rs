//! Writes the kernel of a workgroup program: a function for each kind of phase,
//! a call for each phase, barriers between those that depend on each other.

use std::collections::HashMap;

use super::function::{Function, Turns};
use super::phase::{Phase, Work};
use super::roll::Block;
use super::{Step, position};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, image};
use crate::ops::shader_lib::{DIVIDE, GRID};
use crate::plan::rows::Lanes;
use crate::plan::{fence, wgsl};

const DATA: &str = include_str!("../../../shaders/workgroup/data.wgsl");

/// A buffer, in which all phases read and write.
const BUFFER: &str = include_str!("../../../shaders/workgroup/buffer.wgsl");
/// An image of it, and the buffer for outputs.
const IMAGE: &str = include_str!("../../../shaders/workgroup/image.wgsl");

/// What a kernel is written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    /// The workgroup.
    pub lanes: Lanes,
    /// Networks, a workgroup each.
    pub replicas: usize,
    /// Whether phases read and write an image ([`crate::graph::image`]).
    pub image: bool,
}

impl Form {
    /// What makes the values of one phase visible to the next.
    fn barrier(&self) -> &'static str {
        match self.image {
            true => "textureBarrier();",
            false => "storageBarrier();",
        }
    }

    /// Where values lie, and the functions that read and write them.
    fn memory(&self) -> String {
        match self.image {
            true => IMAGE.replace("{WIDTH}", &image::WIDTH.to_string()),
            false => BUFFER.to_string(),
        }
    }
}

/// A kernel's text with its parameters.
pub(super) struct Text {
    pub source: String,
    pub params: Vec<u32>,
}

/// Writes the kernel of `blocks`. `places` says where each value starts, in blocks
/// of four elements.
pub(super) fn write(
    graph: &Graph,
    steps: &[Step],
    functions: &[Function],
    blocks: &[Block],
    form: Form,
    places: &HashMap<NodeId, usize>,
) -> Result<Text> {
    let mut writer = Writer {
        graph,
        steps,
        functions,
        places,
        form,
        numbers: Vec::new(),
        words: Vec::new(),
        calls: String::new(),
        barrier: Barrier::default(),
    };
    for block in blocks {
        writer.block(block)?;
    }
    let all = blocks.iter().flat_map(Block::range);
    let phases: Vec<&Phase> = all.map(|i| &steps[i].phase).collect();
    Ok(writer.finish(&phases))
}

struct Writer<'g> {
    graph: &'g Graph,
    steps: &'g [Step],
    functions: &'g [Function],
    places: &'g HashMap<NodeId, usize>,
    form: Form,
    /// The functions that are called, in order.
    numbers: Vec<usize>,
    /// Places and settings that travel in the parameters: those of loops, and
    /// numbers that a compiler must not know.
    words: Vec<u32>,
    calls: String,
    barrier: Barrier,
}

/// What phases since the last barrier have read and written.
#[derive(Default)]
struct Barrier {
    read: Vec<(usize, usize)>,
    written: Vec<(usize, usize)>,
}

impl Barrier {
    /// Whether a phase must wait for those before it, which are then forgotten.
    fn before(&mut self, reads: Vec<(usize, usize)>, writes: Vec<(usize, usize)>) -> bool {
        let meet = |a: &[(usize, usize)], b: &[(usize, usize)]| {
            let two = |x: &(usize, usize), y: &(usize, usize)| x.0 < y.1 && y.0 < x.1;
            a.iter().any(|x| b.iter().any(|y| two(x, y)))
        };
        let wait = meet(&reads, &self.written)
            || meet(&writes, &self.written)
            || meet(&writes, &self.read);
        if wait {
            *self = Barrier::default();
        }
        self.read.extend(reads);
        self.written.extend(writes);
        wait
    }
}

impl Writer<'_> {
    fn put(&mut self, depth: usize, line: &str) {
        self.calls.push_str(&"    ".repeat(depth));
        self.calls.push_str(line);
        self.calls.push('\n');
    }

    fn place(&self, id: NodeId) -> Result<usize> {
        let place = self.places.get(&id).copied();
        place.ok_or_else(|| Error::Graph(format!("node {id} is used before it is computed")))
    }

    fn waits(&mut self, step: &Step) -> Result<bool> {
        let mut spans = Vec::with_capacity(step.each.len());
        let phase = &step.phase;
        let values = phase.reads.iter().chain(&phase.writes);
        for &id in values {
            // Those of one replica: no other touches them.
            let first = self.place(id)?;
            let fours = self.graph.shape(id)?.numel().div_ceil(4);
            spans.push((first, first + fours));
        }
        let writes = spans.split_off(phase.reads.len());
        Ok(self.barrier.before(spans, writes))
    }

    /// One phase, or a loop over several.
    fn block(&mut self, block: &Block) -> Result<()> {
        let steps = self.steps;
        // Whether each phase waits, in the first turn and in later ones.
        let mut first = vec![false; block.period];
        let mut later = vec![false; block.period];
        for i in block.range() {
            let waits = self.waits(&steps[i])?;
            let at = i - block.first;
            let turn = if at < block.period {
                &mut first
            } else {
                &mut later
            };
            turn[at % block.period] |= waits;
        }
        let mut depth = 1;
        if block.repeats > 1 {
            // Nothing to wait for between turns: wait once, before them.
            if first[0] && !later[0] {
                self.put(1, self.form.barrier());
                first[0] = false;
            }
            depth = self.open(1, "turn", "0u");
        }
        for i in 0..block.period {
            if first[i] || later[i] {
                self.put(depth, self.form.barrier());
            }
            let alike: Vec<&Step> = (0..block.repeats)
                .map(|turn| &steps[block.first + turn * block.period + i])
                .collect();
            self.call(depth, &alike)?;
        }
        if block.repeats > 1 {
            self.close(1, "turn", "1u", block.repeats);
        }
        Ok(())
    }

    /// The call of one phase, or of the same kind of phase in every turn.
    fn call(&mut self, depth: usize, alike: &[&Step]) -> Result<()> {
        for step in alike {
            for &id in &step.phase.members {
                let node = self.graph.node(id)?;
                let inputs = node.inputs.iter().map(|&i| self.graph.node(i));
                let rule = wgsl::rule(node, inputs.collect::<Result<Vec<_>>>()?);
                self.put(depth, &format!("// {rule}"));
            }
        }
        let mut arguments = Vec::new();
        for step in alike {
            let mut places = Vec::new();
            for &id in step.phase.reads.iter().chain(&step.phase.writes) {
                places.push(self.place(id)?);
            }
            arguments.push((places, step.phase.settings()));
        }
        let step = alike[0];
        let arguments = self.arguments(&arguments, &step.each).join(", ");
        let number = position(&mut self.numbers, step.function);
        match self.functions[step.function].turns {
            Turns::Items(items) if items < self.form.lanes.count => {
                self.put(depth, &format!("if (lane < {items}u) {{"));
                self.put(depth + 1, &format!("phase{number}(lane, {arguments});"));
                self.put(depth, "}");
            }
            Turns::Items(items) => {
                let inside = self.open(depth, "i", "lane");
                self.put(inside, &format!("phase{number}(i, {arguments});"));
                self.close(depth, "i", "LANES", items);
            }
            Turns::Tiles(1) => {
                self.put(depth, &format!("phase{number}(0u, lane, {arguments});"));
            }
            Turns::Tiles(tiles) => {
                let inside = self.open(depth, "tile", "0u");
                let call = format!("phase{number}(tile, lane, {arguments});");
                self.put(inside, &call);
                self.close(depth, "tile", "1u", tiles);
            }
            Turns::Once => self.put(depth, &format!("phase{number}(lane, {arguments});")),
        }
        Ok(())
    }

    /// Opens a loop and says how deep its body is. Loops end where they are left:
    /// where a condition stands at the head, drivers in software run the body
    /// once more, for nobody.
    fn open(&mut self, depth: usize, name: &str, first: &str) -> usize {
        self.put(depth, "{");
        self.put(depth + 1, &format!("var {name} = {first};"));
        self.put(depth + 1, "loop {");
        depth + 2
    }

    fn close(&mut self, depth: usize, name: &str, by: &str, end: usize) {
        self.put(depth + 2, &format!("{name} += {by};"));
        self.put(depth + 2, &format!("if ({name} >= {end}u) {{ break; }}"));
        self.put(depth + 1, "}");
        self.put(depth, "}");
    }

    /// Places and settings as arguments. The places of a single phase are written
    /// out; those of a loop, which `turn` counts, and all settings are words of
    /// the parameters.
    fn arguments(&mut self, turns: &[(Vec<usize>, Vec<f32>)], each: &[usize]) -> Vec<String> {
        let (places, settings) = &turns[0];
        let looped = turns.len() > 1;
        let start = self.words.len();
        for (places, settings) in turns {
            if looped {
                self.words.extend(places.iter().map(|&p| p as u32));
            }
            self.words.extend(settings.iter().map(|s| s.to_bits()));
        }
        let turn = (self.words.len() - start) / turns.len();
        let word = |i: usize| match looped {
            true => format!("word({}u + {turn}u * turn)", start + i),
            false => format!("word({}u)", start + i),
        };
        let mut list = Vec::with_capacity(places.len() + settings.len());
        for (i, (place, each)) in places.iter().zip(each).enumerate() {
            let first = if looped { word(i) } else { format!("{place}u") };
            list.push(match each {
                0 => first,
                each => format!("{first} + {each}u * replica"),
            });
        }
        let before = if looped { places.len() } else { 0 };
        for i in 0..settings.len() {
            list.push(format!("bitcast<f32>({})", word(before + i)));
        }
        list
    }

    fn finish(self, phases: &[&Phase]) -> Text {
        let Form { lanes, .. } = self.form;
        let ops: usize = phases.iter().map(|p| p.members.len()).sum();
        let mut source = format!(
            "// {ops} ops in {} phases, one workgroup for all of them.
const LANES: u32 = {}u;

struct Params {{
    // Always 0, which a compiler does not know.
    zero: vec4<u32>,
    words: array<vec4<u32>, {}>,
}}

@group(0) @binding(0) var<uniform> params: Params;
{}
var<workgroup> lane_sums: array<f32, LANES>;

fn word(i: u32) -> u32 {{
    return params.words[i / 4u][i % 4u];
}}

",
            phases.len(),
            lanes.count,
            self.words.len().div_ceil(4).max(1),
            self.form.memory()
        );
        source.push_str(&fence::fence("params.zero.x"));
        source.push_str(&fence::fence4("params.zero.x"));
        let chains = phases.iter().filter_map(|p| match &p.work {
            Work::Chain(chain) => Some(chain),
            _ => None,
        });
        let links = chains.flat_map(|chain| &chain.links);
        let called = links.flat_map(|link| wgsl::files_of(&link.call));
        let place = (self.form.replicas > 1).then_some(GRID);
        let own = [DIVIDE, DATA].into_iter().chain(place);
        source.push('\n');
        source.push_str(&wgsl::files(own.chain(called)));
        for (number, &function) in self.numbers.iter().enumerate() {
            source.push('\n');
            let text = &self.functions[function].text;
            source.push_str(&text.replace("{P}", &number.to_string()));
        }
        let lane = if lanes.subgroup {
            "subgroup_invocation_id"
        } else {
            "local_invocation_index"
        };
        source.push_str("\n@compute @workgroup_size(LANES)\n");
        match self.form.replicas {
            1 => source.push_str(&format!("fn phases(@builtin({lane}) lane: u32) {{\n")),
            replicas => source.push_str(&format!(
                "fn phases(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin({lane}) lane: u32,
) {{
    // A network each workgroup.
    let replica = workgroup_index(wid, count);
    if (replica >= {replicas}u) {{
        return;
    }}
"
            )),
        }
        source.push_str(&self.calls);
        source.push_str("}\n");
        let mut params = vec![0; 4];
        params.extend(self.words);
        params.resize(params.len().next_multiple_of(4).max(8), 0);
        Text { source, params }
    }
}
